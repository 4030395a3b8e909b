"""Running one cell to its record, whatever was done of it before."""

import shutil
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
    path, work = cell.record_path(folder), cell.work_path(folder)
    with locked(cell.lock_path(folder)):
        for target in (path, cell.weights_path(folder)):
            for half_written in target.parent.glob(f".{target.name}.*"):
                half_written.unlink()
        if path.exists():
            shutil.rmtree(work, ignore_errors=True)
            return Record.read(path)
        # Imported late: Lightning takes seconds, and what is done needs none of it.
        from benchmark.run.training import train

        work.mkdir(parents=True, exist_ok=True)
        try:
            record = train(cell, folder, on_round)
        except StoppedError:
            shutil.rmtree(work)
            raise
        record.write(path)
        shutil.rmtree(work)
    return Record.read(path)


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a cell has its record; what a kill left beside that is cleared up."""
    if not cell.record_path(folder).exists():
        return False
    if cell.lock_path(folder).exists():
        run(cell, folder)
    return True
