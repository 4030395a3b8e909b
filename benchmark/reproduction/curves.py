"""How a line is drawn."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from benchmark.report.theme import DASHES, MUTED, SERIES, Dash
from benchmark.reproduction.lines import Labeled

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
