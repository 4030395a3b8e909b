"""One federation from configuration to record: its identity, its files, going on with it."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.config.compose import compose
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.reference import ReferenceEngine
from benchmark.run import runner, training
from benchmark.run.assembly import choose_device
from benchmark.run.cell import NOT_IN_THE_RESULT, Cell
from benchmark.run.partitioning import partitioned
from benchmark.run.record import Record
from benchmark.utils.errors import UserError
from tests.support.running import TINY, files, tiny


def leaves(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def with_value(cell: Cell, path: str, value: Any) -> Cell:
    resolved = copy.deepcopy(cell.config)
    node = resolved
    *parents, leaf = path.split(".")
    for part in parents:
        node = node[part]
    assert node[leaf] != value
    node[leaf] = value
    return dataclasses.replace(cell, config=resolved)


def composed(*overrides: str) -> Cell:
    """A cell whose data are not looked at."""
    return Cell(overrides, compose(overrides), Path("data"), "0" * 64)


RICH = composed(
    "data=qmnist", "attack=norm_bounded", "defense=weak_dp", "participation=random_sampling"
)


@pytest.mark.parametrize("path", list(leaves(RICH.config)))
def test_every_value_is_in_the_id_but_those_that_change_no_number(path: str) -> None:
    another = "benchmark.utils.errors.UserError" if path.endswith("._target_") else "another"
    changed = with_value(RICH, path, another).id != RICH.id
    assert changed == (path not in NOT_IN_THE_RESULT and not path.startswith("tracking."))


def test_what_changes_no_number_is_what_we_think() -> None:
    assert set(NOT_IN_THE_RESULT) == {
        "tracking",
        "data.path",
        "data.url",
        "engine.workers",
        "engine.address",
        "engine.actors",
        "engine.num_cpus",
        "federation.checkpoint_every",
    }


def test_another_tracker_is_the_same_cell() -> None:
    ids = {composed(*TINY, *more).id for more in ([], ["tracking=mlflow"], ["engine.workers=2"])}
    assert len(ids) == 1


def test_another_cluster_is_the_same_cell() -> None:
    there = ["engine.address=head:6379", "engine.actors=9", "engine.num_cpus=4"]
    ids = {composed(*TINY[:-2], "engine=ray", *more).id for more in ([], there)}
    assert len(ids) == 1


def test_data_and_code_are_in_the_id() -> None:
    assert dataclasses.replace(RICH, data_hash="1" * 64).id != RICH.id
    other = dataclasses.replace(RICH)
    other.__dict__["fingerprint"] = "f" * 64
    assert other.id != RICH.id


def test_where_the_data_lie_is_not() -> None:
    assert dataclasses.replace(RICH, data=Path("elsewhere")).id == RICH.id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            ["defense=norm_clip", "defense.norm_bound=1"],
            ["defense=norm_clip", "defense.norm_bound=1.0"],
        ),
        (["federation.server_lr=1"], ["federation.server_lr=1.0"]),
        (["federation.client_lr=0.1"], ["federation.client_lr=1e-1"]),
        (["seed=0"], []),
        (["attack=none"], []),
        (["seed=1", "attack=boosted"], ["attack=boosted", "seed=1"]),
        (["participation.window=[0,3]"], ["participation.window=[0, 3]"]),
    ],
)
def test_two_ways_to_say_the_same_are_one_cell(one: list[str], other: list[str]) -> None:
    assert composed(*one).id == composed(*other).id


def test_the_id_reads_well() -> None:
    name = composed("attack=boosted", "defense=norm_clip", "seed=12").id
    assert name.startswith("boosted-norm_clip-s12-")
    assert len(name) == len("boosted-norm_clip-s12-") + 12


class Stop(Exception):  # noqa: N818
    """Ends a run from outside, as a kill would."""


def stop_after(last: int) -> Any:
    def on_round(round: int, metrics: dict[str, float]) -> None:
        if round == last:
            raise Stop

    return on_round


def rounds_of(cell: Cell, folder: Path) -> tuple[Record, list[int]]:
    rounds: list[int] = []
    record = runner.run(cell, folder, lambda round, metrics: rounds.append(round))
    return record, rounds


def test_a_cell_becomes_a_record_and_weights_and_leaves_nothing_else(workplace: Path) -> None:
    cell = tiny("attack=boosted", "defense=norm_clip")
    record, rounds = rounds_of(cell, workplace / "out")
    assert rounds == [0, 1, 2]
    assert files(workplace / "out") == {f"records/{cell.id}.json", f"weights/{cell.id}.pt"}
    assert Record.read(cell.record_path(workplace / "out")) == record
    assert record.config == cell.config
    assert record.overrides == list(cell.overrides)
    assert record.code == cell.code
    assert record.data["hash"] == cell.data_hash
    assert record.notes == ["the users are style users, not writers"]
    assert record.curves["num_compromised"].rounds == [0, 1, 2]
    assert record.curves["num_compromised"].values == [1.0, 1.0, 1.0]
    assert {"main_accuracy", "backdoor_in_sample", "backdoor_held_out"} <= record.curves.keys()
    assert len(record.cost.round_seconds) == 3
    assert record.cost.device == "cpu"


def test_the_weights_are_those_of_the_record(workplace: Path) -> None:
    cell = tiny()
    record, _ = rounds_of(cell, workplace / "out")
    state = torch.load(cell.weights_path(workplace / "out"), weights_only=True)
    dataset = training.resident(cell.data)
    client = training.build(cell.config, dataset).client
    client.model.load_state_dict(state)
    found = hashlib.sha256(client.flat().numpy().tobytes()).hexdigest()
    assert found == record.weights_sha256


def test_a_finished_cell_is_not_run_again(workplace: Path) -> None:
    cell = tiny()
    first, _ = rounds_of(cell, workplace / "out")
    path = cell.record_path(workplace / "out")
    before = path.stat()
    again, rounds = rounds_of(cell, workplace / "out")
    assert rounds == []
    assert again == first
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_stopped_cell_goes_on_and_ends_as_if_it_never_had_been(
    workplace: Path, last: int
) -> None:
    cell = tiny("attack=norm_bounded", "defense=weak_dp")
    undisturbed, _ = rounds_of(cell, workplace / "one")
    with pytest.raises(Stop):
        runner.run(cell, workplace / "other", stop_after(last))
    assert not cell.record_path(workplace / "other").exists()
    record, rounds = rounds_of(cell, workplace / "other")
    # The round that was cut short had not been saved.
    assert rounds == list(range(last, 3))
    assert record.result() == undisturbed.result()
    assert len(record.cost.round_seconds) == 3


def test_a_cell_that_was_stopped_between_its_last_round_and_its_record(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny()
    undisturbed, _ = rounds_of(cell, workplace / "one")

    def stop(self: Record, path: Path) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", stop)
        with pytest.raises(Stop):
            runner.run(cell, workplace / "other")
    record, rounds = rounds_of(cell, workplace / "other")
    assert rounds == []
    assert record.result() == undisturbed.result()
    assert files(workplace / "other") == files(workplace / "one")


def test_training_that_diverges_is_a_record_of_when_and_by_whom(workplace: Path) -> None:
    cell, folder = tiny("federation.client_lr=1e30"), workplace / "out"
    record, rounds = rounds_of(cell, folder)
    assert rounds == []
    end = record.diverged
    assert end
    assert (end.round, len(end.honest), end.compromised) == (0, 3, [])
    assert end.reason.startswith("round 0: the aggregated update is not finite; 3 honest and 0")
    assert record.notes[-1] == f"diverged in {end.reason}"
    assert record.weights_sha256 is None
    assert not cell.weights_path(folder).exists()
    assert record.summary["main_accuracy"].final == record.summary["main_accuracy"].last_fifth == 0
    assert Record.read(cell.record_path(folder)) == record
    # The same bits diverge again: it is not run again.
    written = cell.record_path(folder).stat().st_mtime_ns
    assert rounds_of(cell, folder) == (record, [])
    assert cell.record_path(folder).stat().st_mtime_ns == written


def test_a_model_that_diverges_late_keeps_its_curves_and_has_no_end(workplace: Path) -> None:
    cell = tiny("federation.client_lr=0.1", "federation.server_lr=1e19")
    record, rounds = rounds_of(cell, workplace / "out")
    assert record.diverged
    assert rounds
    assert record.diverged.round == len(rounds) == len(record.curves["main_accuracy"].rounds)
    ends = {name: (s.final, s.last_fifth) for name, s in record.summary.items()}
    assert ends.pop("main_accuracy") == (0, 0)
    assert set(ends.values()) == {(None, None)}


def test_code_of_a_defense_inside_another_counts(workplace: Path) -> None:
    inside = [tiny("defense=arc", f"defense.inner={name}").fingerprint for name in ("mean", "cge")]
    assert inside[0] != inside[1]


def test_another_seed_is_another_result(workplace: Path) -> None:
    results = [rounds_of(tiny(f"seed={seed}"), workplace / "out")[0] for seed in (0, 1)]
    assert results[0].weights_sha256 != results[1].weights_sha256


def test_the_number_of_workers_changes_nothing(workplace: Path) -> None:
    one, _ = rounds_of(tiny("engine.workers=1"), workplace / "one")
    two, _ = rounds_of(tiny("engine.workers=2"), workplace / "two")
    assert one.cell == two.cell
    assert one.weights_sha256 == two.weights_sha256


def test_devices() -> None:
    assert choose_device("cpu", ReferenceEngine()) == "cpu"
    assert choose_device("auto", CpuEngine(1)) == "cpu"
    with pytest.raises(UserError, match="this engine runs on cpu; engine=cuda"):
        choose_device("cuda", CpuEngine(1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_cuda_device_that_is_not_there() -> None:
    assert choose_device("auto", ReferenceEngine()) == "cpu"
    with pytest.raises(UserError, match="no CUDA device is visible; valid: auto, cpu"):
        choose_device("cuda", ReferenceEngine())


def test_data_are_partitioned_once_and_found_again(workplace: Path) -> None:
    resolved = compose(["data=digits5k", "partition=iid", "partition.users=20"])
    folder, digest = partitioned(resolved)
    manifest = folder / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert partitioned(resolved) == (folder, digest)
    assert manifest.stat().st_mtime_ns == before
    other, _ = partitioned(compose(["data=digits5k"]))
    assert other != folder


def test_the_versioned_partition_is_taken_where_it_is_what_is_asked_for(workplace: Path) -> None:
    own, digest = partitioned(compose(["data=digits5k"]))
    own.rename(workplace / "data" / "partitioned")
    assert partitioned(compose(["data=digits5k"])) == (Path("data/partitioned"), digest)
    asked = json.loads((workplace / "data/partitioned/configuration.json").read_text())
    assert asked["partition"]["name"] == "style"
