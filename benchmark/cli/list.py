"""``list``: what there is to choose from."""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.cli import listing
from benchmark.config.compose import literal
from benchmark.utils.errors import unknown

USE = {
    "suite": "python -m benchmark suite NAME",
    "tuning": "make params SUITE=NAME && make tune",
    "profile": "python -m benchmark reproduce NAME",
    "reproduction": "python -m benchmark reproduce PROFILE --only NAME",
    "claim": "conf/claim/NAME.yaml",
}
"""How what is no configuration group is chosen."""


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    if arguments.kind is not None and arguments.kind not in listing.KINDS:
        raise unknown("kind", arguments.kind, listing.KINDS)
    kinds = [arguments.kind] if arguments.kind else list(listing.KINDS)
    found = {kind: listing.entries(kind) for kind in kinds}
    if arguments.json:
        plain = {kind: [vars(entry) for entry in entries] for kind, entries in found.items()}
        print(json.dumps(plain[arguments.kind] if arguments.kind else plain, indent=1))
        return 0
    console = Console()
    for kind, entries in found.items():
        group = listing.KINDS[kind]
        choose = USE.get(group, f"{group}=NAME")
        table = Table(title=f"{kind} ({choose})", title_justify="left")
        table.add_column("name", no_wrap=True)
        table.add_column("what")
        if group not in USE:
            table.add_column("parameters", overflow="fold")
        tuned = any(entry.search for entry in entries)
        if tuned:
            table.add_column("the tuner looks in")
        for entry in entries:
            called = f"\nIn reports: {entry.report}" if entry.report else ""
            shown = [] if group in USE else [_parameters(entry.parameters)]
            if tuned:
                shown.append("\n".join(f"{key}: {where}" for key, where in entry.search.items()))
            table.add_row(entry.name, entry.description + called, *shown)
        console.print(table)
    return 0


def _parameters(parameters: dict[str, Any]) -> str:
    return "\n".join(f"{key}={literal(value)}" for key, value in parameters.items())
