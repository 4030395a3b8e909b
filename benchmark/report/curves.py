"""A cell's curves as a picture: matplotlib's object interface on Agg, safe in any thread."""

import math
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.run.record import Curve, Record

# Blue, vermilion and orange of Okabe and Ito's palette: told apart with any color vision.
LINES = {
    "main_accuracy": ("main accuracy", "#0072B2", "-"),
    "backdoor_in_sample": ("backdoor accuracy, in-sample", "#D55E00", "-"),
    "backdoor_held_out": ("backdoor accuracy, held-out", "#E69F00", "--"),
}
COMPROMISED = "num_compromised"
MAX_MARKERS = 40


def curves(record: Record) -> Figure:
    """Draw a cell: main and backdoor accuracy by round.

    The thin line is the cumulative mean of the in-sample backdoor accuracy, as in the figures
    of Sun et al. 2019; triangles on the floor mark the rounds with a compromised client.
    """
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for name, (label, color, style) in LINES.items():
        if name in record.curves:
            rounds, values = _measured(record.curves[name])
            marker = "o" if len(rounds) <= MAX_MARKERS else ""
            axes.plot(rounds, values, style, color=color, label=label, marker=marker, markersize=3)
    if "backdoor_in_sample" in record.curves:
        rounds, values = _measured(record.curves["backdoor_in_sample"])
        means = [total / count for count, total in enumerate(accumulate(values), start=1)]
        axes.plot(
            rounds,
            means,
            color=LINES["backdoor_in_sample"][1],
            lw=0.8,
            label="in-sample, mean so far",
        )
    _mark_attacks(axes, record.curves.get(COMPROMISED, Curve()))
    axes.set(xlabel="round", ylabel="accuracy", ylim=(-0.04, 1.02), title=record.cell)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _measured(curve: Curve) -> tuple[list[int], list[float]]:
    """The finite points: a collapsed model may have measured NaN, which a record keeps as null."""
    points = zip(curve.rounds, curve.values, strict=True)
    kept = [(r, v) for r, v in points if v is not None and math.isfinite(v)]
    return [r for r, _ in kept], [v for _, v in kept]


def _mark_attacks(axes: Axes, compromised: Curve) -> None:
    rounds, counts = _measured(compromised)
    attacked = [r for r, count in zip(rounds, counts, strict=True) if count > 0]
    if attacked:
        floor = [-0.02] * len(attacked)
        label = "round with a compromised client"
        axes.plot(attacked, floor, "^", color="0.25", markersize=3.5, label=label)
