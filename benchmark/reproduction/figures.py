"""A suite's figure: accuracies by round for every line, and honest norms."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.report.curves import Look, band
from benchmark.report.theme import DASHES, INK, LEVELS, MUTED, SERIES, percent_axis, series
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.lines import Labeled, labeled
from benchmark.reproduction.scores import score
from benchmark.results.curves import attacked, gathered, over_seeds, points, so_far

NORM_BOUND = "M2"
TOP, BOTTOM, LEFT, RIGHT, GAP = 0.4, 0.5, 1.0, 0.15, 0.25
"""Inches. Everything is placed by hand: matplotlib's solver for layouts does not give the same
bytes each time."""

BAND = "Lines are means over seeds, bands run from the lowest to the highest seed."


@dataclass(frozen=True)
class Row:
    """Panels beside each other, one a column.

    Attributes:
        metric: a curve's name, or ``cumulative`` for the mean so far of the backdoor's.
        words: at the left.
        height, gap: inches of the panels, and below them.
        only: the number of the one line of its column that is drawn; None for all.
    """

    metric: str
    words: str
    height: float = 1.75
    gap: float = GAP
    only: int | None = None


def accuracies(evidence: Evidence, suite: str) -> Figure:
    """A column of panels for each participation model or attack.

    In-sample backdoor accuracy goes up and down where not every round is attacked, and then each
    line has a panel of its own. Backdoor curves of collapsed models are left out: they mean
    nothing.
    """
    columns: dict[str, list[Labeled]] = defaultdict(list)
    for line in labeled(evidence, suite):
        columns[line.column].append(line)
    rows = _rows(evidence, columns.values())
    wide = {1: 7.2, 2: 4.4}.get(len(columns), 3.5)
    across = min(_legend_columns(evidence, lines, wide) for lines in columns.values())
    legend = 0.22 * max(math.ceil(len(lines) / across) for lines in columns.values())
    top = legend + (TOP if any(columns) else 0.2)
    width = LEFT + len(columns) * (wide + GAP) - GAP + RIGHT
    height = top + sum(row.height + row.gap for row in rows) + BOTTOM
    figure = Figure(figsize=(width, height))
    lowest = _lowest_main(evidence, suite)
    for x, (name, lines) in enumerate(columns.items()):
        first: Axes | None = None
        above = top
        for row in rows:
            left, under = LEFT + x * (wide + GAP), height - above - row.height
            box = (left / width, under / height, wide / width, row.height / height)
            axes = figure.add_axes(box, sharex=first)
            first = first or axes
            for i, (line, look) in enumerate(zip(lines, _looks(lines), strict=True)):
                if row.only in (None, i):
                    _draw(axes, evidence, line, look, row.metric)
            _dress(axes, evidence, lines, row, lowest)
            axes.tick_params(labelbottom=row is rows[-1], labelleft=x == 0)
            axes.set_ylabel(row.words if x == 0 else "")
            axes.set_xlabel("round" if row is rows[-1] else "")
            above += row.height + row.gap
        assert first is not None
        if name:
            first.set_title(name, fontweight="bold", pad=8 + 72 * legend)
        first.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=across,
            borderaxespad=0.3,
            handlelength=1.6,
            columnspacing=1.2,
            fontsize=9,
        )
    return figure


def intermittent(evidence: Evidence, lines: Sequence[Labeled]) -> bool:
    """Whether there are rounds without an attack between rounds with one."""
    for line in lines:
        for record in evidence.of(line.line):
            struck = attacked(record)
            if struck and struck[-1] - struck[0] >= len(struck):
                return True
    return False


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
    found = {metric: over_seeds(records, metric) for metric, _, _ in drawn}
    everything = {m: [v for vs in by.values() for v in vs] for m, by in found.items()}
    longest = max([1e-9, bound or 0.0, *(max(v, default=0.0) for v in everything.values())])
    bins = [longest * i / 30 for i in range(31)]
    for metric, name, color in drawn:
        band(by_round, found[metric], Look(color), name)
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


def _looks(lines: Sequence[Labeled]) -> list[Look]:
    """Of the lines of one column: shades along an axis of numbers, else colors."""
    if all(line.ordered for line in lines) and len(lines) <= len(LEVELS):
        step = (len(LEVELS) - 1) / max(len(lines) - 1, 1)
        return [Look(LEVELS[round(i * step)]) for i in range(len(lines))]
    attacked = (Look(*series(i)) for i in range(1, len(lines) + 1))
    plain = (Look(MUTED, DASHES[i % len(DASHES)]) for i in range(len(lines)))
    return [next(attacked if line.is_attacked else plain) for line in lines]


def _rows(evidence: Evidence, columns: Collection[Sequence[Labeled]]) -> list[Row]:
    main = Row("main_accuracy", "main\naccuracy")
    mean = Row("cumulative", "backdoor, mean\nof rounds so far", gap=0)
    if not any(intermittent(evidence, lines) for lines in columns):
        return [main, Row("backdoor_in_sample", "backdoor\nin-sample"), mean]
    n = max(map(len, columns))
    strips = [
        Row(
            "backdoor_in_sample",
            "backdoor in-sample" if i == n // 2 else "",
            height=0.55,
            gap=GAP if i == n - 1 else 0.14,
            only=i,
        )
        for i in range(n)
    ]
    return [main, *strips, mean]


def _legend_columns(evidence: Evidence, lines: Sequence[Labeled], wide: float) -> int:
    longest = max(len(_label(evidence, line)) for line in lines)
    fitting = max(1, min(len(lines), int(wide / (0.07 * longest + 0.4))))
    rows = math.ceil(len(lines) / fitting)
    return math.ceil(len(lines) / rows)


def _label(evidence: Evidence, line: Labeled) -> str:
    withheld = score(evidence, line.line).withheld
    return f"{line.label} ({withheld})" if withheld else line.label


def _draw(axes: Axes, evidence: Evidence, line: Labeled, look: Look, metric: str) -> None:
    records, label = evidence.of(line.line), _label(evidence, line)
    if metric == "main_accuracy":
        band(axes, over_seeds(records, metric), look, label)
    elif not score(evidence, line.line).withheld:
        found = [points(record, "backdoor_in_sample") for record in records]
        if metric == "cumulative":
            found = [so_far(curve) for curve in found]
        band(axes, gathered(found), look, label)


def _dress(
    axes: Axes, evidence: Evidence, lines: Sequence[Labeled], row: Row, lowest: float
) -> None:
    percent_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    T = max(r.config["federation"]["rounds"] for r in evidence.records.values())
    axes.set_xlim(-0.03 * T, 1.02 * T)
    for first, end in _windows(evidence, lines):
        axes.axvspan(first - 0.5, end - 0.5, color=MUTED, alpha=0.1, linewidth=0)
    if row.metric != "main_accuracy":
        ticks = (0, 0.25, 0.5, 0.75, 1) if row.only is None else (0, 0.5, 1)
        axes.set(ylim=(-0.03, 1.03), yticks=ticks)
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
        for at, value in points(record, "main_accuracy").items()
        if at >= record.config["federation"]["rounds"] // 5
    ]
    return max(0.0, math.floor(10 * min([*values, 0.8])) / 10 - 0.02)
