"""Why cells gave no record: kept beside the records until they have one."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished
from benchmark.run.runner import is_done
from benchmark.utils.errors import FullError
from benchmark.utils.files import atomic_file


def failure_path(cell: Cell, folder: Path) -> Path:
    """Where it is told why a cell gave no record: a line, then where it happened."""
    return folder / "failures" / f"{cell.id}.txt"


def keep_failure(event: Event, folder: Path) -> None:
    """Write why a cell gave no record, or that it did after all.

    Raises:
        FullError: what stopped the cell would stop all others.
    """
    if isinstance(event, Failed):
        if event.is_fatal:
            raise FullError(event.reason)
        with atomic_file(failure_path(event.cell, folder)) as path:
            path.write_text(f"{event.reason}\n\n{event.details}", encoding="utf-8")
    elif isinstance(event, Finished):
        failure_path(event.cell, folder).unlink(missing_ok=True)


def failures(cells: Sequence[Cell], folder: Path) -> dict[str, str]:
    """Cells without a record that failed → one line why."""
    paths = {cell.id: failure_path(cell, folder) for cell in cells if not is_done(cell, folder)}
    there = {name: path for name, path in paths.items() if path.exists()}
    return {name: p.read_text(encoding="utf-8").partition("\n")[0] for name, p in there.items()}
