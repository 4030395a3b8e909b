"""The leaderboard as JSON, for programs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from benchmark.leaderboard.board import Cell, Leaderboard
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS

SCHEMA_VERSION = 1


def to_json(leaderboard: Leaderboard) -> str:
    """All numbers, to six decimals; rows name their cells' records in full."""
    value = {
        "schema_version": SCHEMA_VERSION,
        "gate": GATE,
        "collapse": COLLAPSE,
        "success": SUCCESS,
        "confidence": 0.95,
        **asdict(leaderboard),
    }
    for raw, section in zip(value["sections"], leaderboard.sections, strict=True):
        for row in raw["defense_rows"]:
            row["runs"] = _records(c for c in section.cells if c.defense == row["defense"])
            _strip(row, "worst", "unattacked")
            if not section.tuned:
                del row["tuned"]
        for row in raw["attack_rows"]:
            row["runs"] = _records(c for c in section.cells if c.attack == row["attack"])
            _strip(row, "undefended", "best_defense", "worst_defense")
    return json.dumps(_rounded(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _records(cells: Iterable[Cell]) -> list[str]:
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
