"""``track``: log to MLflow what it does not have yet."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmark.cli import tracked
from benchmark.cli.watch import own_console, say
from benchmark.config.compose import compose
from benchmark.config.instantiate import make
from benchmark.config.overrides import literal
from benchmark.config.schema import Schema
from benchmark.results.trials import is_study
from benchmark.run.partitioning import find
from benchmark.run.record import Record
from benchmark.run.suite import MANIFEST, STANDALONE, Manifest
from benchmark.utils.errors import UserError, program


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    console = own_console()
    chosen = arguments.name or sorted(
        folder.parent.name for folder in arguments.results.glob("*/records")
    )
    if not chosen:
        raise UserError(f"{arguments.results}: no records; {program()} run makes one")
    status = 0
    for name in chosen:
        folder = arguments.results / name
        paths = sorted((folder / "records").glob("*.json"))
        if not paths:
            raise UserError(f"{folder}: no records")
        configured = _configured(Record.read(paths[0]).config.get("tracking", {}))
        tracker = make("tracking", {**configured, "uri": arguments.uri or configured["uri"]})
        grid = _manifest(folder)
        if name != STANDALONE:
            params = tracked.parameters(grid, grid.cells) if grid else {}
            tracker.open_suite(name, params, "study" if is_study(folder) else "suite")
        for path in paths:
            tracker.finish(path, find(Record.read(path).data["hash"]))
        if is_study(folder):
            tracker.study(folder)
        if grid:
            cells = [listed.cell for listed in grid.cells]
            tracker.result(partial(tracked.result, name, folder, cells))
        notes = tracker.close()
        say(console, notes)
        print(f"{name}: {len(paths)} records, {len(tracker.logged)} logged now")
        status = status or int(bool(notes))
    return status


def _manifest(folder: Path) -> Manifest | None:
    """Of a suite; None where it is missing or damaged, which costs no record its run.

    A reproduction leaves that of its last part.
    """
    try:
        grid = Schema(Manifest, "corrupt").read(folder / MANIFEST)
    except (FileNotFoundError, UserError):
        return None
    return grid if grid.name == folder.name else None


def _configured(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its tracking, for the class that ``conf/`` names.

    A record may come from anybody: the class that it names is not made.
    """
    name = recorded.get("name", "none")
    if name == "none":
        return cast(dict[str, Any], compose([])["tracking"])
    plain = compose([f"tracking={name}"])["tracking"]
    values = [
        f"tracking.{key}={literal(recorded[key])}"
        for key in plain
        if key in recorded and key not in ("name", "_target_")
    ]
    return cast(dict[str, Any], compose([f"tracking={name}", *values])["tracking"])
