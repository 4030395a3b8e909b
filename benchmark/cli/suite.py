"""``suite``: a grid of federations."""

import argparse
import signal

from benchmark.cli import params
from benchmark.cli.executing import executor
from benchmark.cli.suite_session import run_cells
from benchmark.cli.watch import own_console
from benchmark.run import suite
from benchmark.utils.errors import UserError


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    at = executor(arguments)
    console = own_console()
    if arguments.params:
        grid, edits = params.read(arguments.params)
        if grid.name != arguments.name:
            raise UserError(f"{arguments.params}: holds suite {grid.name}, not {arguments.name}")
    else:
        grid, edits = suite.Suite.read(arguments.name), []
    # An end from outside stops the workers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = arguments.results / grid.name
    cells = grid.cells([*edits, *arguments.overrides], folder)
    with at:
        return run_cells(grid, cells, folder, at, console)
