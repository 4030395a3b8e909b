"""``reproduce``: the paper's experiments at a scale of one's choice, and what they say."""

import argparse
import signal
import sys

from benchmark.cell import Cell
from benchmark.reproduction.profile import Profile
from benchmark.suite import Suite
from benchmark.verbs.reporting import own_console
from benchmark.verbs.running import check_workers, run_cells


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    check_workers(arguments.workers)
    profile = Profile.read(arguments.profile)
    console = own_console()
    # An end from outside stops the workers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Imported late: torch takes seconds, and a wrong name should not.
    from benchmark.reproduction import report
    from benchmark.reproduction.experiments import reproduce

    folder = arguments.results / f"reproduction-{profile.name}"

    def run(grid: Suite, cells: list[Cell]) -> None:
        run_cells(grid, cells, folder, arguments.workers, console)

    evidence = reproduce(profile, arguments.overrides, arguments.only, folder, run)
    evidence.write(folder / "evidence.json.gz")
    for path in report.write(evidence, folder):
        if path.suffix in (".md", ".html"):
            print(path)
    if evidence.unfinished:
        count = len(evidence.unfinished)
        print(f"fedbackdoor: {count} federations have no record", file=sys.stderr)
    return 1 if evidence.unfinished else 0
