"""Running one cell to its record, whatever was done of it before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.utils.files import locked

if TYPE_CHECKING:
    from benchmark.run.recorder import OnRound


class StoppedError(Exception):
    """Raised by who is told of a round, to give a cell up; says why in a line."""


def run(cell: Cell, folder: Path, on_round: "OnRound | None" = None) -> Record:
    """Run a cell, or go on with it, or take its record if it is done; clear up after a kill.

    Args:
        cell: what to run.
        folder: results of a suite; the record goes to ``records/``, the final model to
            ``weights/``, and ``work/`` holds checkpoints until then.
        on_round: told of every round.

    Raises:
        UserError: parts that do not fit each other or the data.
        StoppedError: ``on_round`` gave the cell up; nothing of it is left.
    """

    def trained() -> Record:
        # Imported late: Lightning takes seconds, and what is done needs none of it.
        from benchmark.run.training import train

        cell.work_path(folder).mkdir(parents=True, exist_ok=True)
        return train(cell, folder, on_round)

    with locked(cell.lock_path(folder)):
        return keep(cell, folder, trained)


def keep(cell: Cell, folder: Path, make: Callable[[], Record]) -> Record:
    """Take a cell's record if there is one, or make and write it; who calls holds its lock.

    Args:
        cell: whose it is.
        folder: results of a suite.
        make: the record, whose final model it leaves in ``weights/``.

    Raises:
        StoppedError: of ``make``; nothing of the cell is left.
    """
    path, work = cell.record_path(folder), cell.work_path(folder)
    for target in (path, cell.weights_path(folder)):
        for half_written in target.parent.glob(f".{target.name}.*"):
            half_written.unlink()
    if path.exists():
        shutil.rmtree(work, ignore_errors=True)
        return Record.read(path)
    try:
        make().write(path)
    except StoppedError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    return Record.read(path)


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a cell has its record; what a kill left beside that is cleared up."""
    if not cell.record_path(folder).exists():
        return False
    if cell.lock_path(folder).exists():
        run(cell, folder)
    return True
