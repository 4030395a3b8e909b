"""``run``: one federation."""

import argparse

from benchmark.cell import Cell, is_done, run
from benchmark.construction import make
from benchmark.display import Display
from benchmark.executor import Failed, Finished, Round, Started
from benchmark.record import Record
from benchmark.verbs import STANDALONE
from benchmark.verbs.reporting import Watch, own_console, say


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    console = own_console()
    cell = Cell.of(arguments.overrides)
    folder = arguments.results / STANDALONE
    path = cell.record_path(folder)
    if is_done(cell, folder):
        Record.read(path)
        console.print(f"{cell.id} is done already; delete its record to run it again")
    else:
        # Imported late: Lightning takes seconds, and what is wrong or done needs none of it.
        from benchmark.training import check

        check(cell)
        folder.mkdir(parents=True, exist_ok=True)
        tracker = make("tracking", cell.config["tracking"])
        with Display([cell], console=console) as display:
            watch = Watch(display, tracker, folder)
            try:
                watch(Started(cell))
                record = run(cell, folder, lambda r, m: watch(Round(cell, r, m)))
                watch(Finished(cell, record))
            except FloatingPointError as error:
                watch(Failed(cell, str(error), ""))
                return 1
            finally:
                say(console, tracker.close())
    print(path.read_text(encoding="utf-8") if arguments.json else path)
    return 0
