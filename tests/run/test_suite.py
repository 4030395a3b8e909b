"""Suites: from a yaml to cells, from cells to records, and what stands in the folder then."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import compose, named
from benchmark.config.overrides import literal
from benchmark.config.plugins import available
from benchmark.run import runner, suite
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Started
from benchmark.run.executors.base import Executor
from benchmark.run.failures import failure_path, failures
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from tests.support.running import TINY, files, obstruct, tiny


def grid(**axes: Any) -> list[list[str]]:
    made = Suite.of({"name": "s", "description": "", "overrides": [], "axes": axes, "seeds": [0]})
    points = list(made.grid())
    assert all(point[-1] == "seed=0" for point in points)
    return [point[:-1] for point in points]


def test_names_values_and_everything_there_is() -> None:
    assert grid(attack=["none", "boosted"]) == [["attack=none"], ["attack=boosted"]]
    assert grid(attack="*") == grid(attack=["*"])
    attacks = [word.removeprefix("attack=") for (word,) in grid(attack=["*"])]
    every = {x: named("attack", x) for x in available("attack")}
    backdoors = {x: a for x, a in every.items() if a.goal == "backdoor"}
    assert attacks == [x for x, a in backdoors.items() if not (a.learns or a.needs_parts)]
    assert "dba" in backdoors.keys() - {*attacks}
    assert {"none", "boosted"} <= {*attacks} < {*available("attack")}
    assert grid(defense=["*"]) == [[f"defense={name}"] for name in available("defense")]
    assert grid(**{"federation.client_lr": [0.1, 1]}) == [
        ["federation.client_lr=0.1"],
        ["federation.client_lr=1"],
    ]
    assert grid(**{"participation.window": [None, [0, 5]]}) == [
        ["participation.window=null"],
        ["participation.window=[0,5]"],
    ]


def test_a_grid_of_parameters_within_a_choice() -> None:
    assert grid(defense=["mean", {"weak_dp": {"norm_bound": [1, 2], "noise_std": 0.1}}]) == [
        ["defense=mean"],
        ["defense=weak_dp", "defense.norm_bound=1", "defense.noise_std=0.1"],
        ["defense=weak_dp", "defense.norm_bound=2", "defense.noise_std=0.1"],
    ]


def test_everything_but_what_is_named_beside_it() -> None:
    found = grid(defense=["*", {"weak_dp": {"noise_std": 0.1}}, "mean"])
    others = [name for name in available("defense") if name not in ("weak_dp", "mean")]
    assert found == [
        *([f"defense={name}"] for name in others),
        ["defense=weak_dp", "defense.noise_std=0.1"],
        ["defense=mean"],
    ]


def test_axes_are_crossed_and_seeds_are_innermost() -> None:
    made = Suite.of(
        {
            "name": "s",
            "description": "",
            "overrides": ["task.num_tasks=2"],
            "axes": {"attack": ["none", "boosted"], "defense": ["mean", "norm_clip"]},
            "seeds": [0, 7],
        }
    )
    points = list(made.grid())
    assert len(points) == 8
    assert points[0] == ["task.num_tasks=2", "attack=none", "defense=mean", "seed=0"]
    assert points[1] == ["task.num_tasks=2", "attack=none", "defense=mean", "seed=7"]
    assert points[-1] == ["task.num_tasks=2", "attack=boosted", "defense=norm_clip", "seed=7"]
    assert len({tuple(point) for point in points}) == 8


@pytest.mark.parametrize(
    "value", ["plain", "a b", "/a,b", "it's", 'q"', "null", "1", "1.5", "true", "", "[1]", "*"]
)
def test_text_stays_text_in_the_override_grammar(value: str) -> None:
    resolved = compose(["data=qmnist", f"data.path={literal(value)}"])
    assert resolved["data"]["path"] == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": ["attack"]}, ["axes must be a mapping", "['attack']"]),
        ({"seeds": 3}, ["seeds must be a list, got 3"]),
        ({"seeds": []}, ["at least one seed"]),
        ({"overrides": None}, ["overrides must be a list, got None"]),
        ({"axis": {}}, ["no key 'axis'", "did you mean 'axes'?"]),
        ({"axes": {"attack": 5}}, ["axis attack", "5"]),
        ({"axes": {"attack": []}}, ["axis attack", "[]"]),
        ({"axes": {"attack": [5]}}, ["axis attack", "[5]"]),
        ({"axes": {"defense": [{"norm_clip": 3}]}}, ["axis defense", "{'norm_clip': 3}"]),
        ({"axes": {"federation.rounds": 5}}, ["axis federation.rounds", "5"]),
    ],
)
def test_what_is_no_suite_is_named(change: dict[str, Any], words: list[str]) -> None:
    raw = {"name": "s", "description": "", "overrides": [], "axes": {}, "seeds": [0]}
    with pytest.raises(UserError) as caught:
        Suite.of({**raw, **change})
    for word in ["suite s", *words]:
        assert word in str(caught.value)


class Here(Executor):
    """Runs cells in this process: an executor is small enough to be written in a few lines."""

    workers = 1

    def __init__(self) -> None:
        self.ran: list[str] = []

    def stop(self, cell: Cell, reason: str) -> None: ...

    def run(self, cells_: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        for cell in cells_:
            self.ran.append(cell.id)
            yield Started(cell)
            try:
                yield Finished(cell, runner.run(cell, folder))
            except OSError as error:
                yield Failed(cell, str(error), "Traceback of it")


def small(**parts: Any) -> Suite:
    raw = {"name": "smoke", "description": "", "overrides": list(TINY), "axes": {}, "seeds": [0]}
    return Suite.of({**raw, **parts})


def test_the_same_cell_twice_is_run_once(workplace: Path) -> None:
    twice = small(
        axes={"defense": ["norm_clip", {"norm_clip": {"norm_bound": [3, 3.0, 1]}}]}, seeds=[0, 0]
    )
    assert len(list(twice.grid())) == 8
    assert len(twice.cells()) == 2


def test_a_suite_runs_what_has_no_record_and_nothing_else(workplace: Path) -> None:
    made, folder = small(axes={"attack": ["none", "boosted"]}), workplace / "results"
    cells_, executor, events = made.cells(), Here(), []
    outcome = suite.run(made, cells_[:1], folder, executor, events.append)
    assert (outcome.finished, outcome.failed) == (1, [])
    outcome = suite.run(made, cells_, folder, executor, events.append)
    assert (outcome.finished, outcome.failed) == (2, [])
    assert executor.ran == [cell.id for cell in cells_]
    assert [type(event) for event in events] == [Started, Finished, Started, Finished]
    manifest = json.loads((folder / "suite.json").read_text())
    assert [entry["cell"] for entry in manifest["cells"]] == [cell.id for cell in cells_]
    found, missing = suite.records(folder)
    assert [record.cell for record in found] == [cell.id for cell in cells_]
    assert missing == []


def test_a_failure_is_written_down_until_the_cell_has_a_record(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = small(axes={"federation.client_lr": [0.2, 0.1]}), workplace / "results"
    cells_ = made.cells()
    obstruct(cells_[0], folder)
    outcome = suite.run(made, cells_, folder, Here(), lambda event: None)
    assert outcome.finished == 1
    assert [failed.cell.id for failed in outcome.failed] == [cells_[0].id]
    note = folder / "failures" / f"{cells_[0].id}.txt"
    text = note.read_text()
    assert "Is a directory" in text
    assert "Traceback of it" in text
    assert suite.records(folder)[1] == [cells_[0].id]

    # Whatever was wrong has been mended.
    sound = runner.run(cells_[1], folder)
    monkeypatch.setattr(runner, "run", lambda cell, folder: sound)
    suite.run(made, cells_[:1], folder, Here(), lambda event: None)
    assert not note.exists()


def test_records_of_other_settings_may_lie_beside_a_suites_own(workplace: Path) -> None:
    folder = workplace / "results"
    before, after = small(), small(overrides=[*TINY, "federation.server_lr=0.5"])
    suite.run(before, before.cells(), folder, Here(), lambda event: None)
    suite.run(after, after.cells(), folder, Here(), lambda event: None)
    assert len([name for name in files(folder) if name.startswith("records/")]) == 2
    found, _ = suite.records(folder)
    assert [record.config["federation"]["server_lr"] for record in found] == [0.5]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"cells": 3}', '{"cells": [1]}', "{}"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "suite.json").write_text(text)
    with pytest.raises(UserError, match=r"suite\.json: corrupt: .* suite smoke"):
        suite.records(tmp_path / "smoke")


def test_why_cells_failed_is_found_again(workplace: Path) -> None:
    failed, fine = tiny("seed=1"), tiny("seed=2")
    for cell in (failed, fine):
        path = failure_path(cell, workplace)
        path.parent.mkdir(exist_ok=True)
        path.write_text("Error: a reason\n\nTraceback")
    runner.run(fine, workplace)
    assert failures([failed, fine], workplace) == {failed.id: "Error: a reason"}
