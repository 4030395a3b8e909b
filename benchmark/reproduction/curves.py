"""Curves over seeds, and how one line is drawn."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes

from benchmark.report.theme import DASHES, MUTED, SERIES, Dash
from benchmark.reproduction.lines import Labeled
from benchmark.run.record import Curve, Record

LEVELS = ("#0d0887", "#7e03a8", "#c03a83", "#e66c5c", "#eda72f")
"""Of matplotlib's plasma: in order of lightness, told apart with any color vision."""

MAX_MARKERS = 12


@dataclass(frozen=True)
class Look:
    """How a line is drawn."""

    color: str
    dash: Dash


def looks(lines: Sequence[Labeled]) -> list[Look]:
    """Of the lines of one column: shades along an axis of numbers, else colors."""
    if all(line.ordered for line in lines) and len(lines) <= len(LEVELS):
        step = (len(LEVELS) - 1) / max(len(lines) - 1, 1)
        return [Look(LEVELS[round(i * step)], DASHES[0]) for i in range(len(lines))]
    found: list[Look] = []
    used = 0
    for line in lines:
        if line.label.startswith("no attack"):
            found.append(Look(MUTED, DASHES[sum(look.color == MUTED for look in found)]))
        else:
            dash = DASHES[used // len(SERIES) % len(DASHES)]
            found.append(Look(SERIES[used % len(SERIES)], dash))
            used += 1
    return found


def band(axes: Axes, values: dict[int, list[float]], look: Look, label: str) -> None:
    """Draw a line: the mean over seeds, and from the lowest to the highest seed around it."""
    rounds = list(values)
    low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
    axes.fill_between(rounds, low, high, color=look.color, alpha=0.16, linewidth=0)
    means = [statistics.fmean(v) for v in values.values()]
    axes.plot(
        rounds,
        means,
        color=look.color,
        linestyle=look.dash,
        linewidth=1.5,
        label=label,
        marker="o" if 0 < len(rounds) <= MAX_MARKERS else "",
        markersize=3,
    )


def over_seeds(records: Sequence[Record], metric: str) -> dict[int, list[float]]:
    """Round → one value a seed."""
    return gathered([points(record, metric) for record in records])


def gathered(curves: Sequence[dict[int, float]]) -> dict[int, list[float]]:
    """Round → one value a seed."""
    found: dict[int, list[float]] = defaultdict(list)
    for curve in curves:
        for at, value in curve.items():
            found[at].append(value)
    return dict(sorted(found.items()))


def points(record: Record, metric: str) -> dict[int, float]:
    """Round → value, of what is finite."""
    curve = record.curves.get(metric, Curve())
    pairs = zip(curve.rounds, curve.values, strict=True)
    return {r: v for r, v in pairs if v is not None and math.isfinite(v)}


def so_far(curve: dict[int, float]) -> dict[int, float]:
    """The mean of all rounds so far, as the paper's figures draw it."""
    totals = accumulate(curve.values())
    return {r: total / n for n, (r, total) in enumerate(zip(curve, totals, strict=True), start=1)}
