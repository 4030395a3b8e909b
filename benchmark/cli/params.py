"""``params``: write params.yaml."""

import argparse

from benchmark.run import params


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    params.write(arguments.name, arguments.out)
    print(arguments.out)
    return 0
