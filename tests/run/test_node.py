"""What a node does with cells that come to it with their data and plug-ins."""

import os
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.config import plugins
from benchmark.run import runner
from benchmark.run.cell import Cell
from benchmark.run.events import Failed, Finished, Round, Stopped
from benchmark.run.executors import node, nursery
from benchmark.run.executors.node import Cells, NodeWorker, data_folder
from benchmark.run.executors.nursery import Nursery
from benchmark.run.executors.transfer import Files, Told, packed, unpacked
from benchmark.utils.errors import UserError
from tests.support.running import files, tiny
from tests.support.stopping import gone, wait_for

DEFENSE = '''
"""The mean."""

from benchmark.defenses.mean import Mean


class Ours(Mean):
    """Ours."""
'''


@pytest.fixture
def elsewhere(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of a node."""
    folder = workplace / "node"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    plugins.use(())


def ended(folder: Path, cell: Cell, kept: Files | None = None) -> list[Told]:
    """All that is told of a cell."""
    told: list[Told] = []
    if not data_folder(folder, cell).exists():
        unpacked(packed(cell.data), data_folder(folder, cell))
    Cells(folder, folder / "worker").run(1, cell, kept or {}, told.extend)
    return told


def test_a_cell_comes_back_as_it_is_here(elsewhere: Path) -> None:
    cell = tiny("attack=boosted")
    here = runner.run(cell, Path("here"))
    *rounds, last = ended(elsewhere, cell)
    assert isinstance(last.event, Finished)
    assert last.event.record.weights_sha256 == here.weights_sha256
    unpacked(last.files, Path("there"))
    assert files(Path("there")) == {str(cell.weights_path(Path()))}
    assert cell.weights_path(Path("there")).read_bytes() == (
        cell.weights_path(Path("here")).read_bytes()
    )
    # After every round there was a checkpoint, which came with the next.
    assert [len(told.files) for told in rounds] == [0, 1, 1]

    # Another one goes on from what came back of two rounds.
    again = ended(elsewhere, cell, rounds[2].files)
    assert [told.event.round for told in again if isinstance(told.event, Round)] == [2]
    assert isinstance(again[-1].event, Finished)
    assert again[-1].event.record.result() == last.event.record.result()


def test_rounds_that_come_fast_are_told_together(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "GATHER_SECONDS", 1e9)
    cell, told = tiny(), list[int]()
    unpacked(packed(cell.data), data_folder(elsewhere, cell))
    Cells(elsewhere, elsewhere / "worker").run(1, cell, {}, lambda some: told.append(len(some)))
    assert told == [1, 3]


def test_a_stop_that_comes_late_stops_nothing_else(elsewhere: Path) -> None:
    cell, told = tiny(), list[Told]()
    unpacked(packed(cell.data), data_folder(elsewhere, cell))
    cells = Cells(elsewhere, elsewhere / "worker")
    cells.stop(1, "pruned")
    cells.run(1, cell, {}, told.extend)
    assert told[-1].event == Stopped(replace(cell, data=data_folder(elsewhere, cell)), "pruned")
    # The same cell once more.
    cells.run(2, cell, {}, told.extend)
    assert isinstance(told[-1].event, Finished)


@pytest.mark.slow
def test_a_worker_has_a_process_of_its_own_and_leaves_nothing(elsewhere: Path) -> None:
    folder = Path("plug")
    (folder / "defense").mkdir(parents=True)
    (folder / "defense" / "ours.yaml").write_text("_target_: plugged.Ours\n")
    (folder / "plugged.py").write_text(DEFENSE)
    plugins.use([folder])
    cell = tiny("defense=ours", "federation.rounds=500")
    short = tiny("defense=ours")
    workers = [NodeWorker([("plug", packed(folder))]) for _ in range(2)]
    data = packed(cell.data)

    told = workers[0].run(2, cell, data, {})
    assert isinstance(pickle.loads(next(told))[-1].event, Round)
    workers[0].stop(1, "too late")
    workers[0].stop(2, "pruned")
    *_, last = (pickle.loads(some)[-1].event for some in told)
    assert last == Stopped(last.cell, "pruned")

    # The same process, and another one beside it that was forked where the first was.
    for worker in workers:
        *_, last = (pickle.loads(some)[-1].event for some in worker.run(3, short, data, {}))
        assert isinstance(last, Finished)

    next(workers[0].run(4, cell, data, {}))
    workers[0].leave()
    assert gone([workers[0].process])
    # The other one is there still, until it is killed.
    assert any(elsewhere.iterdir())
    workers[1].connection.close()
    wait_for(lambda: gone([workers[1].process]))
    os.close(workers[1].nursery.held)
    wait_for(lambda: not any(elsewhere.iterdir()))


def test_other_code_and_broken_data_are_said_in_a_line(elsewhere: Path) -> None:
    cell = tiny()
    other = replace(cell, data_hash="0" * 64)
    vars(other)["id"] = cell.id
    (told,) = ended(elsewhere, other)
    assert isinstance(told.event, Failed)
    assert "is not that of this command" in told.event.reason
    broken = {name: np.zeros(1, np.uint8) for name in packed(cell.data)}
    unpacked(broken, data_folder(elsewhere, cell))
    (told,) = ended(elsewhere, cell)
    assert isinstance(told.event, Failed)
    assert "\n" not in told.event.reason


def test_a_folder_that_the_last_worker_removes_meanwhile_is_made_again(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, removed = Path.mkdir, list[Path]()

    def mkdir(path: Path, *given: Any, **named: Any) -> None:
        made(path, *given, **named)
        if path.parent == elsewhere and not removed:
            removed.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    nursery = Nursery.of_this_machine()
    assert removed == [nursery.home]
    nursery.leave()
    assert not any(elsewhere.iterdir())


def test_edited_code_is_forked_from_a_process_of_its_own(
    elsewhere: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "SOURCE", workplace)
    (code := workplace / "code.py").write_text("before = 1\n")

    def name() -> str:
        held = Nursery.of_this_machine()
        try:
            return held._path.name
        finally:
            held.leave()

    before = name()
    assert name() == before
    os.utime(code, ns=(1, 1))
    assert name() != before


@pytest.mark.skipif(os.getuid() != 0, reason="gives a link away, which takes root")
def test_another_users_link_is_not_followed(elsewhere: Path, workplace: Path) -> None:
    ours = workplace / "ours"
    ours.mkdir()
    link = elsewhere / f"fedbackdoor-{os.getuid()}"
    link.symlink_to(ours)
    os.lchown(link, 65534, 65534)
    with pytest.raises(UserError, match="is another user's"):
        Nursery.of_this_machine()
    assert not any(ours.iterdir())
