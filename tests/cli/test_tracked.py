"""What MLflow is told of a suite as a whole."""

from dataclasses import asdict
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmark.cli import tracked
from benchmark.run.record import Divergence, Record, Summary
from benchmark.run.suite import MANIFEST, Listed, Manifest
from benchmark.tracking.tracker import ENVIRONMENT
from benchmark.utils.files import write_json
from tests.support.running import call
from tests.support.synthetic import record

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
CLIP = {"norm_bound": 1.0}


def recorded(folder: Path) -> list[Record]:
    """A suite of four cells that nobody ran: what they say of themselves is all there is."""
    found = [
        record("none", "mean"),
        record("none", "norm_clip", defense_parameters=CLIP),
        record("boosted", "mean", metrics={"backdoor_in_sample": 0.9}),
        record(
            "boosted",
            "norm_clip",
            defense_parameters=CLIP,
            metrics={"backdoor_in_sample": 0.3, "main_accuracy": 0.9},
        ),
    ]
    for each in found:
        each.write(folder / "records" / f"{each.cell}.json")
    cells = [Listed(each.cell, each.overrides) for each in found]
    axes = {"attack": ["none", "boosted"], "defense": ["mean", {"norm_clip": CLIP}]}
    write_json(folder / MANIFEST, asdict(Manifest("board", "toy", [], axes, [0], cells)))
    return found


NUMBERS = {
    "1_worst_backdoor/mean": pytest.approx(0.9, abs=0.01),
    "2_main_accuracy/mean": pytest.approx(0.92, abs=0.01),
    "1_worst_backdoor/norm_clip norm_bound 1.0": pytest.approx(0.3, abs=0.01),
    "2_main_accuracy/norm_clip norm_bound 1.0": pytest.approx(0.9, abs=0.01),
}


def test_a_suite_that_is_tracked_later_has_all_that_it_would_have_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    recorded(folder := tmp_path / "results" / "board")
    # A damaged manifest, as of an earlier version, costs no record its run.
    whole = (folder / MANIFEST).read_text()
    for logged, manifest in ((4, "{}"), (0, whole), (0, whole)):
        (folder / MANIFEST).write_text(manifest)
        answer = call(capsys, "track", "board", "--uri", "sqlite:///runs.db")
        assert f"4 records, {logged} logged now" in answer.out
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs.db'}")
    experiment = client.get_experiment_by_name("fedbackdoor")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert found.keys() == {
        "board",
        "mean · none · s0",
        "mean · boosted · s0",
        "norm_clip M = 1 · none · s0",
        "norm_clip M = 1 · boosted · s0",
    }
    board = found["board"]
    assert board.data.params == {
        "overrides": "[]",
        "axes.attack": '["none", "boosted"]',
        "axes.defense": '["mean", {"norm_clip": {"norm_bound": 1.0}}]',
        "seeds": "[0]",
    }
    counts = {"cells": 4, "cells_diverged": 0, "cells_missing": 0}
    assert board.data.metrics == counts | NUMBERS
    files = {file.path for file in client.list_artifacts(board.info.run_id)}
    assert files == {"leaderboard.md", "leaderboard.html"}


def test_numbers_of_a_suite_that_is_not_whole(tmp_path: Path) -> None:
    found = recorded(tmp_path)
    (tmp_path / "records" / f"{found[-1].cell}.json").unlink()
    end = {"weights_sha256": None, "diverged": Divergence(3, "round 3: not finite", [], [1])}
    gone = Summary(0.0, 0.0, None, None, None)
    lost = Record(**{**vars(found[2]), **end, "summary": {"main_accuracy": gone}})
    lost.write(tmp_path / "records" / f"{lost.cell}.json")
    cells = [each.cell for each in found]
    metrics, files = tracked.result("board", tmp_path, cells)
    counts = {"cells": 4, "cells_diverged": 1, "cells_missing": 1}
    assert counts.items() <= metrics.items()
    assert [name for name, _ in files] == ["leaderboard.md", "leaderboard.html"]


def test_records_of_which_no_leaderboard_can_be_made_are_counted(tmp_path: Path) -> None:
    assert tracked.result("board", tmp_path, ["a", "b"]) == (
        {"cells": 2, "cells_diverged": 0, "cells_missing": 2},
        (),
    )
