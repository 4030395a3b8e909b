"""Running the cells of a suite with all that belongs to it: display, tracking, failures."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmark.cli import tracked
from benchmark.cli.display import Display
from benchmark.cli.watch import Watch, say
from benchmark.config.instantiate import make
from benchmark.run import suite
from benchmark.run.cell import Cell
from benchmark.run.executors.base import Executor
from benchmark.run.failures import failure_path
from benchmark.run.record import Record
from benchmark.run.suite import Suite
from benchmark.tracking import NoTracker


def run_cells(
    grid: Suite, cells: Sequence[Cell], folder: Path, executor: Executor, console: Console
) -> int:
    """Run the cells that have no record yet and track those that are not tracked.

    Args:
        grid: what the cells belong to.
        cells: all of them.
        folder: the suite's results.
        executor: where they run.
        console: for people.

    Returns:
        The exit status: 1 if a cell failed.
    """
    done, pending = suite.divide(cells, folder)
    untracked = [c for c in done if Record.read(c.record_path(folder)).mlflow_run_id is None]
    if pending:
        # Imported late: Lightning takes seconds, and what is wrong or done needs none of it.
        with console.status("importing what trains, checking cells"):
            from benchmark.run.training import check

            for cell in pending:
                check(cell)
            executor.check()
    tracker = make("tracking", cells[0].config["tracking"])
    folder.mkdir(parents=True, exist_ok=True)
    # There while a run of the suite's own is open: a kill leaves it to whoever comes next.
    is_open = folder / "work" / f"{grid.name}.open"
    is_tracked = not untracked and not is_open.exists()
    if not pending and (is_tracked or type(tracker) is NoTracker):
        suite.write_manifest(grid, cells, folder)
        console.print(f"suite {grid.name}: all {len(cells)} cells are done")
        return 0
    console.print(
        f"suite {grid.name}: {len(cells)} cells, {len(done)} done before, "
        f"{min(executor.workers, len(pending))} at a time; starting workers"
    )
    is_open.parent.mkdir(exist_ok=True)
    is_open.touch()
    tracker.open_suite(grid.name, tracked.parameters(grid, cells))
    # A kill may have come between a record and its run.
    for cell in untracked:
        tracker.finish(cell.record_path(folder), cell.data)
    try:
        with Display(pending, len(done), console) as display:
            watch = Watch(display, tracker, folder)
            outcome = suite.run(grid, cells, folder, executor, watch)
        # A reproduction has a report of its own, and no leaderboard of its parts.
        if folder.name == grid.name:
            ids = [cell.id for cell in cells]
            tracker.result(partial(tracked.result, grid.name, folder, ids))
    finally:
        notes = tracker.close()
        say(console, notes)
    if not notes:
        is_open.unlink(missing_ok=True)
    console.print(f"suite {grid.name}: {outcome.finished} of {len(cells)} cells have a record")
    for failed in outcome.failed:
        details = failure_path(failed.cell, folder)
        print(f"fedbackdoor: {failed.cell.id} failed: {failed.reason} ({details})", file=sys.stderr)
    return 1 if outcome.failed else 0
