"""What a command writes of a cell that is run elsewhere, and what keeps other commands off it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmark.run import runner
from benchmark.run.cell import Cell
from benchmark.run.events import Failed, Finished, Round
from benchmark.run.executors import transfer
from benchmark.run.executors.remote import RemoteCell
from benchmark.run.executors.transfer import Files, Told
from benchmark.utils.files import locked, space_for
from tests.support.running import files, tiny

FOLDER = Path("results/suite")


def checkpoint(cell: Cell, round: int) -> Files:
    """What stands for one."""
    return {str(cell.work_path(Path()) / f"round-{round:07}-x.ckpt"): np.zeros(round, np.uint8)}


def rounds(cell: Cell, *numbers: int) -> list[Told]:
    """Each with the checkpoint of the round before."""
    return [Told(Round(cell, n, {}), checkpoint(cell, n - 1)) for n in numbers]


@contextmanager
def full(path: Path) -> Iterator[Path]:
    with space_for(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    yield path


def test_what_was_told_before_is_not_told_again(workplace: Path) -> None:
    cell = tiny()
    task = RemoteCell(cell, FOLDER, deaths=1)
    assert [event.round for event in task.went_on(rounds(cell, 1, 2))] == [1, 2]
    assert task.deaths == 0
    assert [event.round for event in task.went_on(rounds(cell, 2, 3))] == [3]
    assert files(FOLDER) == set(checkpoint(cell, 2))


def test_a_cell_that_another_command_runs_is_left_to_it(workplace: Path) -> None:
    cell = tiny()
    task = RemoteCell(cell, FOLDER)
    with locked(cell.lock_path(FOLDER)):
        assert not task.take()
    assert task.take()
    assert task.take()
    # Its results are there meanwhile; they stay as they are.
    other = runner.run(cell, Path("there"))
    with pytest.raises(BlockingIOError), locked(cell.lock_path(FOLDER), wait=False):
        pass
    ended = task.ended(Told(Finished(cell, other), {}))
    assert isinstance(ended, Finished)
    assert ended.record.result() == other.result()
    assert files(FOLDER) == {str(cell.record_path(Path()))}
    assert RemoteCell(cell, FOLDER).take()


@pytest.mark.parametrize("is_last", [False, True])
def test_a_full_disk_is_the_end_of_a_cell_and_of_all_others(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, is_last: bool
) -> None:
    cell = tiny()
    task = RemoteCell(cell, FOLDER)
    record = runner.run(cell, Path("there"))
    monkeypatch.setattr(transfer, "atomic_file", full)
    if is_last:
        model = {str(cell.weights_path(Path())): np.zeros(1, np.uint8)}
        event = task.ended(Told(Finished(cell, record), model))
    else:
        *_, event = task.went_on(rounds(cell, 1))
    assert isinstance(event, Failed)
    assert event.is_fatal
    assert "No space left" in event.reason
    assert not files(FOLDER)
