"""Everything a leaderboard is written to."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark.leaderboard import curves
from benchmark.leaderboard.board import Leaderboard, Matchup
from benchmark.leaderboard.build import build
from benchmark.leaderboard.sections import document, summary
from benchmark.leaderboard.tradeoff import tradeoff
from benchmark.report import html, markdown, output, terminal
from benchmark.report.theme import Draw
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS
from benchmark.results.searches import Search
from benchmark.run.record import Record
from benchmark.utils.files import atomic_file

SCHEMA_VERSION = 1


def write(
    name: str, records: list[Record], folder: Path, searches: Sequence[Search] = ()
) -> Leaderboard:
    """Write ``leaderboard.{json,md,html}``, ``tradeoff.png`` and ``curves.png`` to ``folder``.

    The same records give the same bytes, whatever their order. Each file is whole or not there.

    Args:
        name: of the suite.
        records: of its cells; the page links to them as ``records/<cell>.json`` beside it.
        folder: made if it does not exist.
        searches: for attackers; the page links to their reports beside the folder.

    Raises:
        UserError: there are no records, or two of them are the same run.
    """
    board = build(records, name, searches)
    with atomic_file(folder / "leaderboard.json") as path:
        path.write_text(to_json(board), encoding="utf-8")
    output.write(document(board), folder, "leaderboard", _drawing(board, records))
    return board


def to_terminal(board: Leaderboard) -> terminal.Shown:
    """Both tables of every section, with more columns where the terminal has room for them."""
    return terminal.to_terminal(summary(board))


def to_markdown(board: Leaderboard) -> str:
    """Tables, what they mean, and the runs behind them."""
    return markdown.to_markdown(document(board))


def to_html(board: Leaderboard, records: list[Record]) -> str:
    """The page of a leaderboard built from ``records``."""
    return html.to_html(document(board), _drawing(board, records))


def to_json(board: Leaderboard) -> str:
    """All numbers, to six decimals; rows name their cells' records in full."""
    value = {
        "schema_version": SCHEMA_VERSION,
        "gate": GATE,
        "collapse": COLLAPSE,
        "success": SUCCESS,
        "confidence": 0.95,
        **asdict(board),
    }
    for raw, section in zip(value["sections"], board.sections, strict=True):
        for row in raw["defense_rows"]:
            row["runs"] = _records(c for c in section.cells if c.defense == row["defense"])
            _strip(row, "worst", "unattacked")
            if not section.tuned:
                del row["tuned"]
        for row in raw["attack_rows"]:
            row["runs"] = _records(c for c in section.cells if c.attack == row["attack"])
            _strip(row, "undefended", "best_defense", "worst_defense")
    return json.dumps(_rounded(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _drawing(board: Leaderboard, records: list[Record]) -> Draw:
    """The pictures of :mod:`benchmark.leaderboard.sections`, by their names."""
    by_cell = {record.cell: record for record in records}

    def draw(name: str) -> Figure:
        kind, *numbers = name.split("-")
        sections = board.sections
        if not numbers:
            whole = kind == "tradeoff"
            return tradeoff(sections) if whole else curves.grid(sections, by_cell)
        section = sections[int(numbers[0]) - 1]
        if kind == "tradeoff":
            return tradeoff([section])
        return curves.panel(section, section.defenses[int(numbers[1])], by_cell)

    return draw


def _records(cells: Iterable[Matchup]) -> list[str]:
    return [run.record for cell in cells for run in cell.runs]


def _strip(row: dict[str, Any], *names: str) -> None:
    """Leave out of a row's cells what the matrix says already."""
    for name in names:
        if row[name]:
            row[name] = {k: v for k, v in row[name].items() if k not in ("runs", "missing")}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value
