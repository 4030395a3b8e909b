"""How a line is drawn."""

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmark.report.theme import DASHES, LEVELS, MUTED, Dash, series
from benchmark.reproduction.lines import Labeled

MAX_MARKERS = 12
Look = tuple[str, Dash]
"""Color and dashes."""


def looks(lines: Sequence[Labeled]) -> list[Look]:
    """Of the lines of one column: shades along an axis of numbers, else colors."""
    if all(line.ordered for line in lines) and len(lines) <= len(LEVELS):
        step = (len(LEVELS) - 1) / max(len(lines) - 1, 1)
        return [(LEVELS[round(i * step)], DASHES[0]) for i in range(len(lines))]
    attacked = iter(map(series, range(1, len(lines) + 1)))
    plain = iter((MUTED, DASHES[i % len(DASHES)]) for i in range(len(lines)))
    return [next(attacked if line.is_attacked else plain) for line in lines]


def band(axes: Axes, values: dict[int, list[float]], look: Look, label: str) -> None:
    """Draw a line: the mean over seeds, and from the lowest to the highest seed around it."""
    rounds, (color, dash) = list(values), look
    low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
    axes.fill_between(rounds, low, high, color=color, alpha=0.16, linewidth=0)
    axes.plot(
        rounds,
        [statistics.fmean(v) for v in values.values()],
        color=color,
        linestyle=dash,
        linewidth=1.5,
        label=label,
        marker="o" if 0 < len(rounds) <= MAX_MARKERS else "",
        markersize=3,
    )
