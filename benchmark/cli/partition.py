"""``partition``: divide a data set among users."""

import argparse

from benchmark.cli import params
from benchmark.config.compose import compose


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    overrides = arguments.overrides
    if arguments.params:
        grid, edits = params.read(arguments.params)
        overrides = [*grid.overrides, *edits, *overrides]
    resolved = compose(overrides)
    # Imported late: torch takes seconds, and a wrong name should not.
    from benchmark.run import partitioning

    if arguments.out:
        folder = arguments.out
        partitioning.partition(resolved, folder)
    else:
        folder, _ = partitioning.partitioned(resolved)
    print(folder)
    return 0
