"""What running verbs say: to the display, to the tracker, on stderr."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.tracking import CellFacts, NoTracker


class Watch:
    """Passes events on to the display and to the tracker."""

    def __init__(self, display: Callable[[Event], None], tracker: NoTracker, folder: Path):
        self.display, self.tracker, self.folder = display, tracker, folder

    def __call__(self, event: Event) -> None:
        """Pass one on."""
        self.display(event)
        cell = event.cell
        match event:
            case Started(again=False):
                data = {"hash": cell.data_hash}
                self.tracker.start(
                    CellFacts(cell.id, cell.config, data, cell.code, cell.seed, cell.overrides)
                )
            case Round():
                self.tracker.round(cell.id, event.round, event.metrics)
            case Finished():
                self.tracker.finish(cell.record_path(self.folder), cell.data)
            case Failed():
                self.tracker.fail(cell.id, event.reason)
            case Stopped():
                self.tracker.stop(cell.id, event.reason)


def own_console() -> Console:
    """Standard error, which takes the program's log too."""
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logger = logging.getLogger("benchmark")
    logger.handlers, logger.propagate = [handler], False
    return console


def say(console: Console, notes: Sequence[str]) -> None:
    """Show notes of the tracker, a line each."""
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
