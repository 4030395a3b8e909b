"""What a node does with cells that come to it with their data and plug-ins."""

import os
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
from benchmark.run.executors.node import Files, NodeWorker, Told, packed, unpacked
from benchmark.utils.errors import UserError
from tests.support.running import files, tiny

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


def ended(worker: NodeWorker, cell: Cell, kept: Files | None = None) -> list[Told]:
    return list(worker.run(cell, packed(cell.data), kept or {}))


def test_a_cell_comes_back_as_it_is_here(elsewhere: Path) -> None:
    folder = Path("plug")
    (folder / "defense").mkdir(parents=True)
    (folder / "defense" / "ours.yaml").write_text("_target_: plugged.Ours\n")
    (folder / "plugged.py").write_text(DEFENSE)
    plugins.use([folder])
    cell = tiny("attack=boosted", "defense=ours")
    here = runner.run(cell, Path("here"))
    worker = NodeWorker([("plug", packed(folder))])
    *rounds, last = ended(worker, cell)
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
    again = ended(NodeWorker([("plug", packed(folder))]), cell, rounds[2].files)
    assert [told.event.round for told in again if isinstance(told.event, Round)] == [2]
    assert isinstance(again[-1].event, Finished)
    assert again[-1].event.record.result() == last.event.record.result()


def test_a_cell_is_given_up_and_nothing_is_left(elsewhere: Path) -> None:
    cell, workers = tiny("federation.rounds=500"), [NodeWorker([]), NodeWorker([])]
    told = workers[0].run(cell, packed(cell.data), {})
    assert isinstance(next(told).event, Round)
    workers[0].stop("another", "too late")
    workers[0].stop(cell.id, "pruned")
    *_, last = told
    assert last.event == Stopped(last.event.cell, "pruned")
    assert any(elsewhere.iterdir())
    workers[0].leave()
    # The other one is there still.
    assert any(elsewhere.iterdir())
    workers[1].leave()
    assert not any(elsewhere.iterdir())


def test_other_code_and_broken_data_are_said_in_a_line(elsewhere: Path) -> None:
    cell, worker = tiny(), NodeWorker([])
    other = replace(cell, data_hash="0" * 64)
    vars(other)["id"] = cell.id
    (told,) = ended(worker, other)
    assert isinstance(told.event, Failed)
    assert "is not that of this command" in told.event.reason
    broken = {name: np.zeros(1, np.uint8) for name in packed(cell.data)}
    (told,) = worker.run(cell, broken, {})
    assert isinstance(told.event, Failed)
    assert "\n" not in told.event.reason
    worker.leave()


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
    worker = NodeWorker([])
    assert removed == [worker.home]
    worker.leave()
    assert not any(elsewhere.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="gives a link away, which takes root")
def test_another_users_link_is_not_followed(elsewhere: Path, workplace: Path) -> None:
    ours = workplace / "ours"
    ours.mkdir()
    link = elsewhere / f"fedbackdoor-{os.getuid()}"
    link.symlink_to(ours)
    os.lchown(link, 65534, 65534)
    with pytest.raises(UserError, match="is another user's"):
        NodeWorker([])
    assert not any(ours.iterdir())
