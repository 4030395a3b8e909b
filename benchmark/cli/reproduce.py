"""``reproduce``: the paper's experiments at a scale of one's choice, and what they say."""

import argparse
import signal
import sys

from benchmark.cli.executing import executor
from benchmark.cli.suite_session import run_cells
from benchmark.cli.watch import own_console
from benchmark.reproduction.profile import Profile
from benchmark.run.cell import Cell
from benchmark.run.suite import Suite


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    at = executor(arguments)
    profile = Profile.read(arguments.profile)
    console = own_console()
    # An end from outside stops the workers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Imported late: torch takes seconds, and a wrong name should not.
    from benchmark.reproduction import output
    from benchmark.reproduction.experiments import reproduce

    folder = arguments.results / f"reproduction-{profile.name}"

    def run(grid: Suite, cells: list[Cell]) -> None:
        run_cells(grid, cells, folder, at, console)

    with at:
        evidence = reproduce(profile, arguments.overrides, arguments.only, folder, run)
    evidence.write(folder / "evidence.json.gz")
    console.print(output.answer(evidence.verdicts()), highlight=False)
    for path in output.write(evidence, folder):
        if path.suffix in (".md", ".html"):
            print(path)
    if evidence.missing:
        count = len(evidence.missing)
        print(f"fedbackdoor: {count} federations have no record", file=sys.stderr)
    return 1 if evidence.missing else 0
