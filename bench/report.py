"""What a measurement leaves behind: a table in the terminal, JSON, and Markdown for the README."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmark.utils.files import write_json

RESULTS = Path(__file__).parent / "results"

Value = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None is a value that was not measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class Result:
    """One script's measurement.

    Attributes:
        name: of the script, and of its file in ``bench/results``.
        facts: see :func:`bench.measure.facts`.
        data: everything that was measured.
        tables: what of it people read.
        notes: what one must know to read them.
    """

    name: str
    facts: dict[str, Any]
    data: dict[str, Any]
    tables: Sequence[Table]
    notes: Sequence[str] = ()

    def publish(self, folder: Path) -> None:
        """Print the tables and write the JSON."""
        console = Console(width=None if sys.stdout.isatty() else 120)
        for table in self.tables:
            console.print(terminal(table))
        for note in self.notes:
            console.print(note, highlight=False)
        facts = self.facts | {"load_after": list(os.getloadavg())}
        write_json(folder / f"{self.name}.json", asdict(self) | {"facts": facts})


def read(folder: Path, name: str) -> Result | None:
    """A result that was written before, None where there is none."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    tables = [Table(**table) for table in content.pop("tables")]
    return Result(tables=tables, **content)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What all scripts can be asked for."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="tiny sizes: seconds, for tests")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON")
    return parser


def shown(value: Value) -> str:
    """A cell: numbers to three digits, whole ones from 1,000 on."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else value
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    text = f"{value:#.3g}".removesuffix(".")
    return f"{value:.1e}" if "e" in text else text


def terminal(table: Table) -> RichTable:
    """For rich."""
    drawn = RichTable(title=table.title, title_justify="left")
    for i, column in enumerate(table.columns):
        numeric = all(not isinstance(row[i], str) for row in table.rows)
        drawn.add_column(column, justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.rows:
        drawn.add_row(*map(shown, row))
    return drawn


def markdown(result: Result) -> str:
    """The command, the circumstances and the tables."""
    facts = result.facts
    loads = f"load {facts['load_before'][0]:.1f} before, {facts['load_after'][0]:.1f} after"
    parts = [
        f"`{facts['command']}`, {facts['date'][:10]}, commit {facts['versions']['commit']}, "
        f"torch {facts['versions']['torch']}, {facts['device']}; {loads}."
    ]
    for table in result.tables:
        lines = [" | ".join(map(shown, row)) for row in [table.columns, *table.rows]]
        rule = " | ".join("---" for _ in table.columns)
        rows = "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])
        parts += [f"**{table.title}**", rows]
    return "\n\n".join([*parts, *result.notes])
