"""``leaderboard``: rank what a suite has recorded."""

import argparse
import sys

from rich.console import Console

from benchmark import leaderboard
from benchmark.run import suite
from benchmark.utils.errors import program


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    folder = arguments.results / arguments.name
    records, missing = suite.records(folder)
    searches = leaderboard.searches(arguments.results)
    board = leaderboard.write(arguments.name, records, folder, searches)
    console = Console()
    console.print(leaderboard.to_terminal(board))
    for file in ("leaderboard.html", "leaderboard.md", "leaderboard.json"):
        console.print(folder / file, highlight=False)
    if missing:
        print(
            f"fedbackdoor: {len(missing)} cells of {arguments.name} have no record; "
            f"{program()} suite {arguments.name}",
            file=sys.stderr,
        )
    return 0
