"""Curves by round, drawn: a band over seeds for reports, all of a cell for its tracked run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.report.theme import DASHES, Dash
from benchmark.results.curves import attacked, points, so_far
from benchmark.run.record import Record

# Blue, vermilion and orange of Okabe and Ito's palette: told apart with any color vision.
LINES = {
    "main_accuracy": ("main accuracy", "#0072B2", "-"),
    "backdoor_in_sample": ("backdoor accuracy, in-sample", "#D55E00", "-"),
    "backdoor_held_out": ("backdoor accuracy, held-out", "#E69F00", "--"),
}
MANY, SEVERAL = 40, 12
"""Points beyond which those of a cell, or those of a band, are not marked."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn."""

    color: str
    dash: Dash = DASHES[0]


def means(values: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Round → the mean over seeds."""
    return {at: statistics.fmean(found) for at, found in values.items()}


def band(axes: Axes, values: Mapping[int, Sequence[float]], look: Look, label: str = "") -> None:
    """Draw a line: the mean over seeds, and from the lowest to the highest seed around it."""
    rounds = list(values)
    low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
    axes.fill_between(rounds, low, high, color=look.color, alpha=0.16, linewidth=0)
    axes.plot(
        rounds,
        list(means(values).values()),
        color=look.color,
        linestyle=look.dash,
        linewidth=1.5,
        label=label,
        marker="o" if 0 < len(rounds) <= SEVERAL else "",
        markersize=3,
    )


def curves(record: Record) -> Figure:
    """Draw a cell: main and backdoor accuracy by round.

    The thin line is the cumulative mean of the in-sample backdoor accuracy, as in the figures
    of Sun et al. 2019; triangles on the floor mark the rounds with a compromised client.
    """
    # Margins as they are: finding some draws everything once more, for every cell of a suite.
    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.add_axes((0.08, 0.22, 0.9, 0.71))
    for name, (label, color, style) in LINES.items():
        if name in record.curves:
            found = points(record, name)
            marker = "o" if len(found) <= MANY else ""
            rounds, values = list(found), list(found.values())
            axes.plot(rounds, values, style, color=color, label=label, marker=marker, markersize=3)
    if "backdoor_in_sample" in record.curves:
        mean = so_far(points(record, "backdoor_in_sample"))
        color = LINES["backdoor_in_sample"][1]
        label = "in-sample, mean so far"
        axes.plot(list(mean), list(mean.values()), color=color, lw=0.8, label=label)
    if rounds := attacked(record):
        label = "round with a compromised client"
        floor = [-0.02] * len(rounds)
        axes.plot(rounds, floor, "^", color="0.25", markersize=3.5, label=label)
    axes.set(xlabel="round", ylabel="accuracy", ylim=(-0.04, 1.02), title=record.cell)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="lower center", ncols=3, frameon=False, fontsize="small")
    return figure
