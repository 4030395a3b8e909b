"""A cell that is run elsewhere, as the command knows it that alone writes its results."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Stopped
from benchmark.run.executors.transfer import Told, save
from benchmark.run.record import Record
from benchmark.run.runner import keep
from benchmark.utils.errors import FullError
from benchmark.utils.files import locked


@dataclass
class RemoteCell:
    """A cell, and what is known of how it went so far.

    Attributes:
        cell: it.
        folder: results of its suite.
        lock: of the cell, held from when a worker is given it until it has ended.
        deaths: of workers with it, since a checkpoint came back.
        told: its last round that was told of.
    """

    cell: Cell
    folder: Path
    lock: ExitStack = field(default_factory=ExitStack)
    deaths: int = 0
    told: int = -1
    is_taken: bool = False

    def take(self) -> bool:
        """Have nobody else run the cell; False where somebody does already."""
        if not self.is_taken:
            try:
                lock = locked(self.cell.lock_path(self.folder), wait=False)
                self.lock.enter_context(lock)
            except BlockingIOError:
                return False
            self.is_taken = True
        return True

    def went_on(self, told: Sequence[Told]) -> list[Event]:
        """Rounds that nobody was told of before; the last checkpoint that came with them is kept.

        Where there is no space for that, the cell has failed.
        """
        events, cell = list[Event](), self.cell
        for event in (each.event for each in told):
            # A worker that was lost may have told of it before.
            if isinstance(event, Round) and event.round > self.told:
                self.told = event.round
                events.append(replace(event, cell=cell))
        if isinstance(told[-1].event, Round) and (kept := [x.files for x in told if x.files]):
            self.deaths = 0
            try:
                save(kept[-1], cell, self.folder)
            except FullError as error:
                events.append(self._full(error))
        return events

    def ended(self, told: Told) -> Event:
        """How it did, when what came of it is written."""
        event, cell, folder = told.event, self.cell, self.folder
        with self.lock:
            if isinstance(event, Stopped):
                shutil.rmtree(cell.work_path(folder), ignore_errors=True)
            if not isinstance(event, Finished):
                return replace(event, cell=cell)
            # There plug-ins lie in another folder.
            record = replace(event.record, code=cell.code)

            def made() -> Record:
                save(told.files, cell, folder)
                return record

            try:
                return Finished(cell, keep(cell, folder, made))
            except FullError as error:
                return self._full(error)

    def _full(self, error: FullError) -> Failed:
        return Failed(self.cell, str(error), "", is_fatal=True)
