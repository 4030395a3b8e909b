"""Where the cells of a command run: ``executor=NAME`` among its overrides."""

import argparse

from benchmark.config.compose import apart
from benchmark.config.instantiate import make
from benchmark.run.executors.base import Executor
from benchmark.utils.errors import UserError


def executor(arguments: argparse.Namespace) -> Executor:
    """What runs them; taken out of the overrides, since it is no part of a cell.

    Raises:
        UserError: it is not valid, or the number of workers is none.
    """
    workers = arguments.workers
    if workers is not None and workers < 1:
        raise UserError(f"--workers must be at least 1, got {workers}")
    section, arguments.overrides = apart("executor", "local", arguments.overrides)
    made: Executor = make("executor", section, workers=workers)
    return made
