"""What the verbs of the command line do."""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from benchmark import config, leaderboard, listing, params, partitioning, suite
from benchmark.building import make
from benchmark.cell import Cell
from benchmark.cell import run as run_cell
from benchmark.display import Display
from benchmark.errors import UserError
from benchmark.executor import Event, Failed, Finished, LocalExecutor, Round, Started
from benchmark.record import Record
from benchmark.tracking import CellFacts, NoTracker

STANDALONE = "runs"
"""Folder under the results for federations that belong to no suite."""


def partition_verb(arguments: argparse.Namespace) -> int:
    """``partition``."""
    overrides = arguments.overrides
    if arguments.params:
        grid, edits = params.read(arguments.params)
        overrides = [*grid.overrides, *edits, *overrides]
    resolved = config.compose(overrides)
    if arguments.out:
        folder = arguments.out
        partitioning.partition(resolved, folder)
    else:
        folder, _ = partitioning.partitioned(resolved)
    print(folder)
    return 0


def run_verb(arguments: argparse.Namespace) -> int:
    """``run``."""
    console = _console()
    cell = Cell.of(arguments.overrides)
    folder = arguments.results / STANDALONE
    path = cell.record_path(folder)
    if path.exists():
        Record.read(path)
        console.print(f"{cell.id} is done already; delete its record to run it again")
    else:
        cell.check()
        folder.mkdir(parents=True, exist_ok=True)
        tracker = make("tracking", cell.config["tracking"])
        with Display([cell], console=console) as display:
            watch = _Watch(display, tracker, folder)
            try:
                watch(Started(cell))
                record = run_cell(cell, folder, lambda r, m: watch(Round(cell, r, m)))
                watch(Finished(cell, record))
            except FloatingPointError as error:
                watch(Failed(cell, str(error), ""))
                return 1
            finally:
                _say(console, tracker.close())
    print(path.read_text(encoding="utf-8") if arguments.json else path)
    return 0


def suite_verb(arguments: argparse.Namespace) -> int:
    """``suite``."""
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers must be at least 1, got {arguments.workers}")
    console = _console()
    if arguments.params:
        grid, edits = params.read(arguments.params)
        if grid.name != arguments.name:
            raise UserError(f"{arguments.params}: holds suite {grid.name}, not {arguments.name}")
    else:
        grid, edits = suite.Suite.read(arguments.name), []
    # An end from outside stops the workers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cells = grid.cells([*edits, *arguments.overrides])
    folder = arguments.results / grid.name
    done, pending = suite.divide(cells, folder)
    untracked = [c for c in done if Record.read(c.record_path(folder)).mlflow_run_id is None]
    for cell in pending:
        cell.check()
    folder.mkdir(parents=True, exist_ok=True)
    executor = LocalExecutor(arguments.workers)
    tracker = make("tracking", cells[0].config["tracking"])
    if not pending and (not untracked or type(tracker) is NoTracker):
        suite.write_manifest(grid, cells, folder)
        console.print(f"suite {grid.name}: all {len(cells)} cells are done")
        return 0
    console.print(
        f"suite {grid.name}: {len(cells)} cells, {len(done)} done before, "
        f"{min(executor.workers, len(pending))} at a time"
    )
    tracker.open_suite(grid.name, {"axes": str(grid.axes), "seeds": str(grid.seeds)})
    # A kill may have come between a record and its run.
    for cell in untracked:
        tracker.finish(cell.record_path(folder), cell.data)
    try:
        with Display(pending, len(done), console) as display:
            watch = _Watch(display, tracker, folder)
            outcome = suite.run(grid, cells, folder, executor, watch)
    finally:
        _say(console, tracker.close())
    console.print(f"suite {grid.name}: {outcome.finished} of {len(cells)} cells have a record")
    for failed in outcome.failed:
        details = folder / "failures" / f"{failed.cell.id}.txt"
        print(f"fedbackdoor: {failed.cell.id} failed: {failed.reason} ({details})", file=sys.stderr)
    return 1 if outcome.failed else 0


def leaderboard_verb(arguments: argparse.Namespace) -> int:
    """``leaderboard``."""
    folder = arguments.results / arguments.name
    records, missing = suite.records(folder)
    board = leaderboard.write(arguments.name, records, folder)
    console = Console()
    console.print(leaderboard.to_terminal(board))
    for file in ("leaderboard.html", "leaderboard.md", "leaderboard.json"):
        console.print(folder / file, highlight=False)
    if missing:
        print(
            f"fedbackdoor: {len(missing)} cells of {arguments.name} have no record; "
            f"python -m benchmark suite {arguments.name}",
            file=sys.stderr,
        )
    return 0


def track_verb(arguments: argparse.Namespace) -> int:
    """``track``."""
    console = _console()
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
            configured = config.compose([])["tracking"]
        tracker = make("tracking", {**configured, "uri": arguments.uri or configured["uri"]})
        if name != STANDALONE:
            tracker.open_suite(name, {})
        for path in paths:
            tracker.finish(path, partitioning.find(Record.read(path).data["hash"]))
        notes = tracker.close()
        _say(console, notes)
        print(f"{name}: {len(paths)} records, {len(tracker.logged)} logged now")
        status = status or int(bool(notes))
    return status


def list_verb(arguments: argparse.Namespace) -> int:
    """``list``."""
    if arguments.kind is not None and arguments.kind not in listing.KINDS:
        raise config.unknown("kind", arguments.kind, listing.KINDS)
    kinds = [arguments.kind] if arguments.kind else list(listing.KINDS)
    found = {kind: listing.entries(kind) for kind in kinds}
    if arguments.json:
        plain = {kind: [vars(entry) for entry in entries] for kind, entries in found.items()}
        print(json.dumps(plain[arguments.kind] if arguments.kind else plain, indent=1))
        return 0
    console = Console()
    for kind, entries in found.items():
        group = listing.KINDS[kind]
        choose = "python -m benchmark suite NAME" if group == "suite" else f"{group}=NAME"
        table = Table(
            "name", "what", "parameters", title=f"{kind} ({choose})", title_justify="left"
        )
        for entry in entries:
            shown = "" if group == "suite" else _parameters(entry.parameters)
            table.add_row(entry.name, entry.description, shown)
        console.print(table)
    return 0


def params_verb(arguments: argparse.Namespace) -> int:
    """``params``."""
    params.write(arguments.name, arguments.out)
    print(arguments.out)
    return 0


class _Watch:
    """Passes events on to the display and to the tracker."""

    def __init__(self, display: Display, tracker: NoTracker, folder: Path):
        self.display, self.tracker, self.folder = display, tracker, folder

    def __call__(self, event: Event) -> None:
        self.display(event)
        cell = event.cell
        match event:
            case Started():
                facts = CellFacts(
                    cell.id, cell.config, {"hash": cell.data_hash}, cell.code, cell.seed
                )
                self.tracker.start(facts)
            case Round():
                self.tracker.round(cell.id, event.round, event.metrics)
            case Finished():
                self.tracker.finish(cell.record_path(self.folder), cell.data)
            case Failed():
                self.tracker.fail(cell.id, event.reason)


def _parameters(parameters: dict[str, Any]) -> str:
    return "\n".join(f"{key}={suite.literal(value)}" for key, value in parameters.items())


def _console() -> Console:
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logger = logging.getLogger("benchmark")
    logger.handlers, logger.propagate = [handler], False
    return console


def _say(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
