"""``track``: log to MLflow what it does not have yet."""

import argparse

from benchmark.cli.watch import own_console, say
from benchmark.config.compose import compose
from benchmark.config.instantiate import make
from benchmark.results.trials import is_study
from benchmark.run.partitioning import find
from benchmark.run.record import Record
from benchmark.run.suite import STANDALONE
from benchmark.utils.errors import UserError


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    console = own_console()
    chosen = arguments.name or sorted(
        folder.parent.name for folder in arguments.results.glob("*/records")
    )
    if not chosen:
        raise UserError(f"{arguments.results}: no records; python -m benchmark run makes one")
    status = 0
    for name in chosen:
        folder = arguments.results / name
        paths = sorted((folder / "records").glob("*.json"))
        if not paths:
            raise UserError(f"{folder}: no records")
        configured = Record.read(paths[0]).config["tracking"]
        if configured["name"] == "none":
            configured = compose([])["tracking"]
        tracker = make("tracking", {**configured, "uri": arguments.uri or configured["uri"]})
        if name != STANDALONE:
            tracker.open_suite(name, {}, "study" if is_study(folder) else "suite")
        for path in paths:
            tracker.finish(path, find(Record.read(path).data["hash"]))
        if is_study(folder):
            tracker.study(folder)
        notes = tracker.close()
        say(console, notes)
        print(f"{name}: {len(paths)} records, {len(tracker.logged)} logged now")
        status = status or int(bool(notes))
    return status
