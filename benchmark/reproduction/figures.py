"""A suite's figure: accuracies by round for every line, and honest norms."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.leaderboard.drawing import DASHES, INK, MUTED, SERIES, Dash, percent_axis
from benchmark.record import Curve, Record
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.labels import Labeled, labeled
from benchmark.reproduction.scores import score

LEVELS = ("#0d0887", "#7e03a8", "#c03a83", "#e66c5c", "#eda72f")
"""Of matplotlib's plasma: in order of lightness, told apart with any color vision."""

NORM_BOUND = "M2"
ROW, TOP, BOTTOM, LEFT, RIGHT, GAP = 1.75, 0.4, 0.5, 1.0, 0.15, 0.25
"""Inches. Everything is placed by hand: matplotlib's solver for layouts does not give the same
bytes each time."""

BAND = "Lines are means over seeds, bands run from the lowest to the highest seed."
ROWS = (
    ("main_accuracy", "main\naccuracy"),
    ("backdoor_in_sample", "backdoor\nin-sample"),
    ("cumulative", "backdoor, mean\nof rounds so far"),
)


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


def accuracies(evidence: Evidence, suite: str) -> Figure:
    """A row of panels for each of ``ROWS``, a column for each participation model or attack.

    Backdoor curves of collapsed models are left out: they mean nothing.
    """
    columns: dict[str, list[Labeled]] = defaultdict(list)
    for line in labeled(evidence, suite):
        columns[line.column].append(line)
    wide = {1: 7.2, 2: 4.4}.get(len(columns), 3.5)
    legend = 0.22 * max(math.ceil(len(c) / _legend_columns(c, wide)) for c in columns.values())
    top = legend + (TOP if any(columns) else 0.2)
    width = LEFT + len(columns) * (wide + GAP) - GAP + RIGHT
    height = top + len(ROWS) * (ROW + GAP) - GAP + BOTTOM
    figure = Figure(figsize=(width, height))
    lowest = _lowest_main(evidence, suite)
    for x, (name, lines) in enumerate(columns.items()):
        first: Axes | None = None
        for y, (metric, words) in enumerate(ROWS):
            left = LEFT + x * (wide + GAP)
            under = height - top - (y + 1) * ROW - y * GAP
            box = (left / width, under / height, wide / width, ROW / height)
            axes = figure.add_axes(box, sharex=first)
            first = first or axes
            for line, look in zip(lines, looks(lines), strict=True):
                _draw(axes, evidence, line, look, metric)
            _dress(axes, evidence, lines, metric, lowest)
            axes.tick_params(labelbottom=y == len(ROWS) - 1, labelleft=x == 0)
            axes.set_ylabel(words if x == 0 else "")
            axes.set_xlabel("round" if y == len(ROWS) - 1 else "")
        assert first is not None
        if name:
            first.set_title(name, fontweight="bold", pad=8 + 72 * legend)
        first.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=_legend_columns(lines, wide),
            borderaxespad=0.3,
            handlelength=1.6,
            columnspacing=1.2,
            fontsize=9,
        )
    return figure


def norms(evidence: Evidence, suite: str) -> Figure:
    """Honest norms by round, and how they are distributed over rounds and seeds."""
    figure = Figure(figsize=(9.2, 3.2))
    by_round = figure.add_axes((0.075, 0.155, 0.5, 0.73))
    histogram = figure.add_axes((0.66, 0.155, 0.325, 0.73))
    records = [record for line in evidence.lines[suite] for record in evidence.of(line)]
    drawn = (
        ("honest_norm_median", "median of a round", SERIES[1]),
        ("honest_norm_max", "longest of a round", SERIES[0]),
    )
    bound = evidence.values.get(NORM_BOUND)
    found = {metric: _over_seeds(records, metric) for metric, _, _ in drawn}
    everything = {m: [v for vs in by.values() for v in vs] for m, by in found.items()}
    longest = max([1e-9, bound or 0.0, *(max(v, default=0.0) for v in everything.values())])
    bins = [longest * i / 30 for i in range(31)]
    for metric, name, color in drawn:
        _band(by_round, found[metric], Look(color, DASHES[0]), name)
        histogram.hist(everything[metric], bins=bins, color=color, alpha=0.55, linewidth=0)
    if bound is not None:
        label = f"the paper's 2, here {bound:.3g}"
        by_round.axhline(bound, color=INK, linewidth=1, linestyle="--", label=label)
        histogram.axvline(bound, color=INK, linewidth=1, linestyle="--")
    by_round.set(xlabel="round", ylabel="norm of honest updates", ylim=(0, None))
    histogram.set(xlabel="norm", ylabel="rounds, all seeds")
    by_round.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_round.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, borderaxespad=0.3)
    return figure


def _legend_columns(lines: Sequence[Labeled], wide: float) -> int:
    longest = max(len(line.label) for line in lines)
    fitting = max(1, min(len(lines), int(wide / (0.07 * longest + 0.4))))
    rows = math.ceil(len(lines) / fitting)
    return math.ceil(len(lines) / rows)


def _draw(axes: Axes, evidence: Evidence, line: Labeled, look: Look, metric: str) -> None:
    withheld = score(evidence, line.line).withheld
    records = evidence.of(line.line)
    label = f"{line.label} ({withheld})" if withheld else line.label
    if metric == "main_accuracy":
        _band(axes, _over_seeds(records, metric), look, label)
    elif not withheld:
        found = [_curve(record, "backdoor_in_sample") for record in records]
        if metric == "cumulative":
            found = [_so_far(points) for points in found]
        _band(axes, _gathered(found), look, label)


def _dress(
    axes: Axes, evidence: Evidence, lines: Sequence[Labeled], metric: str, lowest: float
) -> None:
    percent_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for first, end in _windows(evidence, lines):
        axes.axvspan(first - 0.5, end - 0.5, color=MUTED, alpha=0.1, linewidth=0)
    if metric != "main_accuracy":
        axes.set(ylim=(-0.03, 1.03), yticks=(0, 0.25, 0.5, 0.75, 1))
        return
    axes.set_ylim(lowest, 1.02)
    if evidence.main is not None:
        axes.axhline(evidence.main, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))


def _windows(evidence: Evidence, lines: Sequence[Labeled]) -> set[tuple[int, int]]:
    """Rounds outside which nobody is compromised."""
    found = {
        tuple(window)
        for line in lines
        for record in evidence.of(line.line)
        if (window := record.config["participation"].get("window")) is not None
    }
    return {(int(first), int(end)) for first, end in found}


def _lowest_main(evidence: Evidence, suite: str) -> float:
    """Where the axis of main accuracy begins: the same for all panels, and near what is there."""
    values = [
        value
        for line in labeled(evidence, suite)
        for record in evidence.of(line.line)
        for at, value in _curve(record, "main_accuracy").items()
        if at >= record.config["federation"]["rounds"] // 5
    ]
    return max(0.0, math.floor(10 * min([*values, 0.8])) / 10 - 0.02)


def _band(axes: Axes, values: dict[int, list[float]], look: Look, label: str) -> None:
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
        marker="o" if 0 < len(rounds) <= 12 else "",
        markersize=3,
    )


def _over_seeds(records: Sequence[Record], metric: str) -> dict[int, list[float]]:
    return _gathered([_curve(record, metric) for record in records])


def _gathered(curves: Sequence[dict[int, float]]) -> dict[int, list[float]]:
    """Round → one value a seed."""
    found: dict[int, list[float]] = defaultdict(list)
    for points in curves:
        for at, value in points.items():
            found[at].append(value)
    return dict(sorted(found.items()))


def _curve(record: Record, metric: str) -> dict[int, float]:
    """Round → value, of what is finite."""
    curve = record.curves.get(metric, Curve())
    points = zip(curve.rounds, curve.values, strict=True)
    return {r: v for r, v in points if v is not None and math.isfinite(v)}


def _so_far(points: dict[int, float]) -> dict[int, float]:
    """The mean of all rounds so far, as the paper's figures draw it."""
    totals = accumulate(points.values())
    return {r: total / n for n, (r, total) in enumerate(zip(points, totals, strict=True), start=1)}
