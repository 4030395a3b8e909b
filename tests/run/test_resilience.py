"""What must not be lost, mixed up or trusted: checkpoints, partitions, threads, locks."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.config.compose import compose
from benchmark.run import recorder, runner
from benchmark.run.assembly import build
from benchmark.run.cell import Cell
from benchmark.run.partitioning import find, partitioned
from benchmark.run.record import Record
from benchmark.run.recorder import CHECKPOINTS
from benchmark.run.suite import Suite, write_manifest
from benchmark.testing.toys import make_dataset
from benchmark.utils import machine
from benchmark.utils.errors import UserError
from benchmark.utils.files import locked
from tests.support.data_files import write_qmnist
from tests.support.running import TINY, call, files, tiny


class StoppedError(Exception):
    """Ends a run in the middle."""


def stop_after(round: int, metrics: dict[str, float]) -> None:
    if round == 1:
        raise StoppedError


def flipped(old: bytes) -> bytes:
    """One bit of a weight."""
    return old[: len(old) // 2] + bytes([old[len(old) // 2] ^ 1]) + old[len(old) // 2 + 1 :]


@pytest.mark.parametrize("damage", [lambda old: b"", lambda old: old[: len(old) // 2], flipped])
def test_a_damaged_checkpoint_is_put_aside_and_the_run_starts_anew(
    workplace: Path, damage, caplog: pytest.LogCaptureFixture
) -> None:
    cell = tiny("attack=boosted")
    undisturbed = runner.run(cell, workplace / "undisturbed")
    with pytest.raises(StoppedError):
        runner.run(cell, workplace / "stopped", stop_after)
    (checkpoint,) = (workplace / "stopped" / "work" / cell.id).glob(CHECKPOINTS)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    seen: list[int] = []
    record = runner.run(cell, workplace / "stopped", lambda round, _: seen.append(round))
    assert seen == [0, 1, 2]
    assert record.result() == undisturbed.result()
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        "seed=1",
        "attack=none",
        "defense=norm_clip",
        "federation.client_lr=0.05",
        "model=paper",
        "federation.rounds=4",
    ],
)
def test_another_cells_checkpoint_is_put_aside(
    workplace: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    cell, strange = tiny("attack=boosted"), tiny("attack=boosted", other)
    undisturbed = runner.run(cell, workplace / "undisturbed")
    with pytest.raises(StoppedError):
        runner.run(strange, workplace / "stopped", stop_after)
    strange.work_path(workplace / "stopped").rename(cell.work_path(workplace / "stopped"))
    seen: list[int] = []
    record = runner.run(cell, workplace / "stopped", lambda round, _: seen.append(round))
    assert seen == [0, 1, 2]
    assert record.result() == undisturbed.result()
    assert "another cell's" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["reference", "cpu", "cpu engine.compiled=false"])
def test_the_bits_do_not_depend_on_the_threads_of_the_process(workplace: Path, engine: str) -> None:
    """A suite's worker has one thread, ``run`` has all cores: the cell is the same."""
    name, *more = engine.split()
    overrides = (*TINY, f"engine={name}", *more, "attack=norm_bounded", "model=paper")
    overrides = tuple(o for o in overrides if name == "cpu" or not o.startswith("engine.workers"))
    cell = Cell.of([*overrides, "federation.rounds=1", "federation.clients_per_round=2"])
    found = set()
    for threads in (1, 2):
        previous = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found.add(runner.run(cell, workplace / str(threads)).weights_sha256)
        finally:
            torch.set_num_threads(previous)
    assert len(found) == 1


def test_changed_files_and_changed_code_make_a_partition_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    write_qmnist(source)
    resolved = compose(["data=qmnist", f"data.path={source}", "partition.min_images=2"])
    folder, digest = partitioned(resolved)
    assert find(digest) == folder
    made = (folder / "manifest.json").stat().st_mtime_ns

    def again() -> bool:
        nonlocal made
        assert partitioned(resolved) == (folder, digest)
        before, made = made, (folder / "manifest.json").stat().st_mtime_ns
        return made != before

    assert not again()
    labels = next(source.glob("*labels*"))
    labels.touch()
    assert again()
    stamp = folder.with_name(f".{folder.name}.stamp.json")
    content = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**content, "code": "of another day"}))
    assert again()
    stamp.unlink()  # as DVC brings it
    assert not again()


class Wide(nn.Module):
    """Has one output more than the data have classes."""

    def __init__(self, num_classes: int, inputs: int = 784):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, num_classes + 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.parametrize(
    ("inputs", "fault"), [(784, r"model: gives logits of shape \(1, 11\)"), (5, "model: does not")]
)
def test_a_model_that_does_not_fit_the_data_is_refused(
    inputs: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = compose(["federation.clients_per_round=2", "task.num_tasks=1"])
    resolved["model"] = {"name": "wide", "_target_": f"{__name__}.Wide", "inputs": inputs}
    with pytest.raises(UserError, match=fault):
        build(resolved, make_dataset([8] * 20))


def test_a_model_is_built_for_the_images_of_the_data_or_refused() -> None:
    resolved = compose(["federation.clients_per_round=2", "task.num_tasks=1", "engine=cuda"])
    color = build(resolved, make_dataset([20] * 8, image=(3, 32, 30)))
    assert color.client.layers[0].shape == (16, 3, 5, 5)
    with pytest.raises(UserError, match="model: images of 4 x 4 are too small"):
        build(resolved, make_dataset([20] * 8, image=(3, 4, 4)))
    resolved["model"] = {"name": "wide", "_target_": f"{__name__}.Wide"}
    with pytest.raises(UserError, match="model: does not take these images of 3 x 32 x 30: mat1"):
        build(resolved, make_dataset([20] * 8, image=(3, 32, 30)))


def ran(words: Sequence[str], folder: Path) -> set[str]:
    """Run the smoke suite in this process, not in workers, which take seconds to start."""
    grid = Suite.read("smoke")
    made = grid.cells(words)
    for cell in made:
        runner.run(cell, folder)
    write_manifest(grid, made, folder)
    return files(folder)


@pytest.mark.slow
def test_a_suite_tracks_what_a_kill_left_untracked(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [o for o in TINY if o != "tracking=none"]
    words = ["suite", "smoke", *overrides]
    ran(overrides, workplace / "results" / "smoke")
    assert call(capsys, *words).status == 0
    folder = workplace / "results" / "smoke" / "records"
    tracked = {path: Record.read(path).mlflow_run_id for path in folder.glob("*.json")}
    assert None not in tracked.values()
    lost = min(tracked)
    raw = json.loads(lost.read_text())
    lost.write_text(json.dumps({**raw, "mlflow_run_id": None}))
    with sqlite3.connect(workplace / "mlflow.db") as store:
        store.execute("update runs set status='RUNNING' where run_uuid=?", [tracked[lost]])
    assert call(capsys, *words).status == 0
    assert {path: Record.read(path).mlflow_run_id for path in tracked} == tracked
    with sqlite3.connect(workplace / "mlflow.db") as store:
        states = dict(store.execute("select run_uuid, status from runs"))
    assert states[tracked[lost]] == "FINISHED"


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the system cannot reset the peak"
)
def test_peak_memory_is_the_cells_own() -> None:
    machine.reset_peak_memory("cpu")
    start = machine.peak_memory_mb("cpu")
    big = torch.ones(50_000_000)
    assert machine.peak_memory_mb("cpu") > start + 150
    del big
    machine.reset_peak_memory("cpu")
    assert machine.peak_memory_mb("cpu") < start + 100


def test_a_lock_is_gone_after_use_and_after_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "name.lock"
    with locked(path):
        assert path.exists()
    assert not path.exists()
    with pytest.raises(StoppedError), locked(path):
        raise StoppedError
    assert not path.exists()


@pytest.mark.parametrize("verb", ["run", pytest.param("suite", marks=pytest.mark.slow)])
def test_what_a_kill_leaves_beside_a_finished_cell_is_cleared_up(
    verb: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb == "run":
        words, folder = ["run", *TINY], workplace / "results" / "runs"
        runner.run(tiny(), folder)
        before = files(folder)
    else:
        words, folder = ["suite", "smoke", *TINY], workplace / "results" / "smoke"
        before = ran(TINY, folder)
    record = min((folder / "records").glob("*.json"))
    identity = record.stat()
    for left in (
        folder / "work" / f"{record.stem}.lock",
        folder / "work" / record.stem / "round-0000000-0.ckpt",
        folder / "weights" / f".{record.stem}.pt.abc",
        folder / "records" / f".{record.name}.abc",
    ):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("half")
    assert call(capsys, *words).status == 0
    assert files(folder) == before
    assert (record.stat().st_ino, record.stat().st_mtime_ns) == (
        identity.st_ino,
        identity.st_mtime_ns,
    )


def test_memory_and_time_of_every_round_go_into_the_record_also_of_a_stopped_run(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny()
    peaks = iter([300.0, 100.0, 200.0, 50.0])
    monkeypatch.setattr(recorder, "peak_memory_mb", lambda device: next(peaks))
    with pytest.raises(StoppedError):
        runner.run(cell, workplace / "stopped", stop_after)
    cost = runner.run(cell, workplace / "stopped").cost
    # Round 1 was stopped before its checkpoint, and so ran twice.
    assert cost.round_peak_memory_mb == [300.0, 200.0, 50.0]
    assert cost.peak_memory_mb == 300.0
    assert len(cost.round_seconds) == 3
    assert cost.seconds == sum(cost.round_seconds)
