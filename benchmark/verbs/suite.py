"""``suite``: a grid of federations."""

import argparse
import signal
import sys

from benchmark import params, suite
from benchmark.construction import make
from benchmark.display import Display
from benchmark.errors import UserError
from benchmark.executor import LocalExecutor
from benchmark.record import Record
from benchmark.tracking import NoTracker
from benchmark.verbs.reporting import Watch, own_console, say


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers must be at least 1, got {arguments.workers}")
    console = own_console()
    if arguments.params:
        grid, edits = params.read(arguments.params)
        if grid.name != arguments.name:
            raise UserError(f"{arguments.params}: holds suite {grid.name}, not {arguments.name}")
    else:
        grid, edits = suite.Suite.read(arguments.name), []
    # An end from outside stops the workers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cells = grid.cells([*edits, *arguments.overrides])
    folder = arguments.results / grid.name
    done, pending = suite.divide(cells, folder)
    untracked = [c for c in done if Record.read(c.record_path(folder)).mlflow_run_id is None]
    if pending:
        # Imported late: Lightning takes seconds, and what is wrong or done needs none of it.
        from benchmark.training import check

        for cell in pending:
            check(cell)
    folder.mkdir(parents=True, exist_ok=True)
    executor = LocalExecutor(arguments.workers)
    tracker = make("tracking", cells[0].config["tracking"])
    if not pending and (not untracked or type(tracker) is NoTracker):
        suite.write_manifest(grid, cells, folder)
        console.print(f"suite {grid.name}: all {len(cells)} cells are done")
        return 0
    console.print(
        f"suite {grid.name}: {len(cells)} cells, {len(done)} done before, "
        f"{min(executor.workers, len(pending))} at a time"
    )
    tracker.open_suite(grid.name, {"axes": str(grid.axes), "seeds": str(grid.seeds)})
    # A kill may have come between a record and its run.
    for cell in untracked:
        tracker.finish(cell.record_path(folder), cell.data)
    try:
        with Display(pending, len(done), console) as display:
            watch = Watch(display, tracker, folder)
            outcome = suite.run(grid, cells, folder, executor, watch)
    finally:
        say(console, tracker.close())
    console.print(f"suite {grid.name}: {outcome.finished} of {len(cells)} cells have a record")
    for failed in outcome.failed:
        details = folder / "failures" / f"{failed.cell.id}.txt"
        print(f"fedbackdoor: {failed.cell.id} failed: {failed.reason} ({details})", file=sys.stderr)
    return 1 if outcome.failed else 0
