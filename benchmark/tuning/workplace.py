"""Where the federations of a search run, whoever asks for them."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished
from benchmark.run.executors.base import Executor
from benchmark.run.failures import keep_failure
from benchmark.run.record import Record
from benchmark.run.runner import is_done
from benchmark.run.suite import Watch
from benchmark.utils.errors import UserError

DEATHS = 2
"""Of workers, for each of them, without a record made in between: then it is no accident."""


@dataclass(frozen=True)
class Workplace:
    """A folder of records, and who fills it.

    Attributes:
        folder: of the records.
        executor: runs what has none.
        watch: told of every federation.
    """

    folder: Path
    executor: Executor
    watch: Watch

    @property
    def workers(self) -> int:
        """Federations at a time."""
        return self.executor.workers

    def record(self, cell: Cell) -> Record | None:
        """A federation's record; None while it has none."""
        if not is_done(cell, self.folder):
            return None
        record = Record.read(cell.record_path(self.folder))
        if record.mlflow_run_id is None:
            # A kill may have come between a record and its run.
            self.watch(Finished(cell, record))
        return record

    def run(self, cells: list[Cell]) -> Iterator[Event]:
        """Run federations as an executor does; one whose worker died is run on.

        Args:
            cells: without a record; it may grow meanwhile.

        Raises:
            UserError: a federation fails, or workers die time and again.
        """
        deaths = 0
        with closing(self.executor.run(cells, self.folder)) as events:
            for event in events:
                if isinstance(event, Failed) and event.worker_died:
                    deaths += 1
                    if deaths > DEATHS * self.workers:
                        raise UserError(f"--workers {self.workers}: {event.reason}")
                    cells.append(event.cell)
                    continue
                self.watch(event)
                keep_failure(event, self.folder)
                if isinstance(event, Failed):
                    raise UserError(f"{event.cell.id} failed: {event.reason}")
                if isinstance(event, Finished):
                    deaths = 0
                yield event

    def finish(self, cells: Sequence[Cell]) -> None:
        """Run those of some federations that have no record, each once."""
        unique = {cell.id: cell for cell in cells}.values()
        for _ in self.run([cell for cell in unique if self.record(cell) is None]):
            pass

    def stop(self, cell: Cell) -> None:
        """Have a federation given up whose trial is pruned."""
        self.executor.stop(cell, "pruned")
