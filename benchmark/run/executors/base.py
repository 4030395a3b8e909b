"""Where cells run: an executor turns a list of cells into a stream of events."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Self

from benchmark.run.cell import Cell
from benchmark.run.events import Event


class Executor(ABC):
    """Runs cells somewhere: in processes of this machine, or on a cluster.

    As a context manager it leaves nothing behind where cells ran.

    Attributes:
        workers: cells at a time.
    """

    workers: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027
        pass

    def check(self) -> None:  # noqa: B027
        """Refuse now what would be refused when cells run.

        Raises:
            UserError: a cluster cannot be reached, or could run no cell.
        """

    @abstractmethod
    def run(self, cells: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        """Run every cell; each ends in one Finished, Failed or Stopped, in any order.

        Who reads the events may append cells meanwhile. A cell that fails takes no other down.
        Closing the iterator ends what is running; such a cell goes on from its checkpoint when it
        is run again.
        """

    @abstractmethod
    def stop(self, cell: Cell, reason: str) -> None:
        """Have a running cell given up after a round: Stopped, or Finished where it is too late."""
