"""Everything a leaderboard is written to."""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark.leaderboard import curves
from benchmark.leaderboard.board import AttackRow, DefenseRow, Leaderboard
from benchmark.leaderboard.build import build
from benchmark.leaderboard.sections import document, summary
from benchmark.leaderboard.tradeoff import tradeoff
from benchmark.report import html, markdown, output, terminal
from benchmark.report.theme import Draw
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS
from benchmark.results.searches import Search
from benchmark.results.statistics import CONFIDENCE, Estimate
from benchmark.run.record import Record
from benchmark.utils.files import atomic_file

SCHEMA_VERSION = 1
SHARES = ("main", "in_sample", "held_out", "reference", "fixed")


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
        "confidence": CONFIDENCE,
        **_plain(board),
    }
    for raw, section in zip(value["sections"], board.sections, strict=True):
        raw["floor"] = _plain(section.floor)
        if not section.untargeted:
            del raw["untargeted"]
        rows: list[DefenseRow | AttackRow] = [*section.defense_rows, *section.attack_rows]
        for told, row in zip(raw["defense_rows"] + raw["attack_rows"], rows, strict=True):
            # Of a row's cells the matrix says the rest.
            for cell in (each for each in told.values() if isinstance(each, dict)):
                cell.pop("runs", None)
                cell.pop("missing", None)
            told["runs"] = [run.record for cell in section.of(row) for run in cell.runs]
            if not section.tuned:
                told.pop("tuned", None)
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any, name: str = "") -> Any:
    """As JSON has it; an estimate of shares with the ends of its interval."""
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if not is_dataclass(value):
        return value
    found = {f.name: _plain(getattr(value, f.name), f.name) for f in fields(value)}
    if isinstance(value, Estimate) and name.removeprefix("final_") in SHARES:
        found["interval"] = _plain(value.share())
    return found


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
