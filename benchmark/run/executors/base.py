"""Where cells run: an executor turns a list of cells into a stream of events."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.run.cell import Cell
from benchmark.run.events import Event


class Executor(ABC):
    """Runs cells somewhere; a cluster takes the place of the processes of this machine here."""

    @abstractmethod
    def run(self, cells: Sequence[Cell], folder: Path) -> Iterator[Event]:
        """Run every cell; each ends in one Finished or Failed, in any order.

        A cell that fails takes no other down. Closing the iterator stops what is running; a
        stopped cell goes on from its checkpoint when it is run again.
        """
