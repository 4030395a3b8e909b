"""What MLflow is told of a suite as a whole, beside its cells."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.run.suite import Listed, Manifest, Suite
from benchmark.tracking import Result
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from benchmark.leaderboard import Leaderboard


def parameters(grid: Suite | Manifest, cells: Sequence[Cell | Listed]) -> dict[str, Any]:
    """The overrides that all cells share but for seed and tracking, the axes and the seeds."""
    shared = [
        o
        for o in cells[0].overrides
        if all(o in cell.overrides for cell in cells) and not o.startswith(("tracking", "seed="))
    ]
    return {"overrides": shared, "axes": grid.axes, "seeds": grid.seeds}


def result(name: str, folder: Path, cells: Collection[str]) -> Result:
    """The leaderboard of those cells that have a record, where one can be made of them.

    Metrics are numbers of cells and, for every defense, the backdoor accuracy (in-sample) of its
    worst attack, tuned ones included, and the main accuracy under its worst fixed attack.
    """
    # Imported late: pandas and matplotlib take seconds, and are needed at the end alone.
    from benchmark import leaderboard

    paths = [folder / "records" / f"{cell}.json" for cell in cells]
    records = [Record.read(path) for path in paths if path.exists()]
    diverged = sum(record.diverged is not None for record in records)
    counts = {"cells": len(paths), "cells_diverged": diverged}
    counts["cells_missing"] = len(paths) - len(records)
    try:
        board = leaderboard.build(records, name, leaderboard.searches(folder.parent))
    except UserError:  # `leaderboard` says why
        return counts, ()

    def files() -> Iterator[tuple[str, str]]:
        yield "leaderboard.md", leaderboard.to_markdown(board)
        yield "leaderboard.html", leaderboard.to_html(board, records)

    return counts | dict(_numbers(board)), files()


def _numbers(board: "Leaderboard") -> Iterator[tuple[str, float]]:
    for section in board.sections:
        for row in section.defense_rows:
            label = "/".join(map(_plain, filter(None, [section.setting.label, row.defense])))
            if row.worst and row.worst.in_sample:
                reached = row.tuned.reached if row.tuned else 0
                yield f"1_worst_backdoor/{label}", max(row.worst.in_sample.mean, reached)
            if row.worst and row.worst.main:
                yield f"2_main_accuracy/{label}", row.worst.main.mean


def _plain(label: str) -> str:
    """Without what MLflow refuses in a name: ``norm_clip norm_bound 1``."""
    return re.sub(r"[(),=\s]+", " ", label).strip()
