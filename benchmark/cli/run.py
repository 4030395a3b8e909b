"""``run``: one federation."""

import argparse

from benchmark.cli.display import Display
from benchmark.cli.watch import Watch, own_console, say
from benchmark.config.instantiate import make
from benchmark.run.cell import Cell
from benchmark.run.events import Finished, Round, Started
from benchmark.run.record import Record
from benchmark.run.runner import is_done, run
from benchmark.run.suite import STANDALONE


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    console = own_console()
    folder = arguments.results / STANDALONE
    cell = Cell.of(arguments.overrides, folder)
    path = cell.record_path(folder)
    if is_done(cell, folder):
        Record.read(path)
        console.print(f"{cell.id} is done already; delete its record to run it again")
    else:
        # Imported late: Lightning takes seconds, and what is wrong or done needs none of it.
        with console.status("importing what trains"):
            from benchmark.run.training import check

            check(cell)
        tracker = make("tracking", cell.config["tracking"])
        folder.mkdir(parents=True, exist_ok=True)
        with Display([cell], console=console) as display:
            watch = Watch(display, tracker, folder)
            try:
                watch(Started(cell))
                record = run(cell, folder, lambda r, m: watch(Round(cell, r, m)))
                watch(Finished(cell, record))
            finally:
                say(console, tracker.close())
    print(path.read_text(encoding="utf-8") if arguments.json else path)
    return 0
