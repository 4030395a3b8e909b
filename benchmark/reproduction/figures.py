"""A suite's figure: accuracies by round for every line, and honest norms."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.report.curves import Look, band
from benchmark.report.theme import DASHES, INK, LEVELS, MUTED, SERIES, percent_axis, series
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.lines import Labeled, labeled
from benchmark.results.curves import attacked, gathered, over_seeds, points, so_far

TOP, BOTTOM, LEFT, RIGHT, GAP, LEGEND = 0.4, 0.5, 1.0, 0.15, 0.25, 0.22
"""Inches. Everything is placed by hand: matplotlib's solver for layouts does not give the same
bytes each time."""

BAND = "Lines are means over seeds, bands run from the lowest to the highest seed."


@dataclass(frozen=True)
class Row:
    """Panels beside each other, one a column.

    Attributes:
        metric: a curve's name, or ``cumulative`` for the mean so far of the backdoor's.
        words: at the left.
        height: inches.
        only: the number of the one line of its column that is drawn; None for all.
    """

    metric: str
    words: str
    height: float = 1.75
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
    n = max(map(len, columns.values()))
    rows = _rows(n if any(map(intermittent, columns.values())) else 0)
    wide = {1: 7.2, 2: 4.4}.get(len(columns), 3.5)
    across = min(_legend_columns(lines, wide) for lines in columns.values())
    legend = LEGEND * math.ceil(n / across)
    top = legend + (TOP if any(columns) else 0.2)
    width = LEFT + len(columns) * (wide + GAP) - GAP + RIGHT
    tall = sum(row.height for row in rows)
    height = top + tall + GAP * (len(rows) - 1) + BOTTOM
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(
        len(rows),
        len(columns),
        sharex=True,
        squeeze=False,
        height_ratios=[row.height for row in rows],
        gridspec_kw={
            "left": LEFT / width,
            "right": 1 - RIGHT / width,
            "top": 1 - top / height,
            "bottom": BOTTOM / height,
            "wspace": GAP / wide,
            "hspace": GAP * len(rows) / tall,
        },
    )
    lowest = _lowest_main(line for lines in columns.values() for line in lines)
    for x, (name, lines) in enumerate(columns.items()):
        for axes, row in zip(panels[:, x], rows, strict=True):
            for i, (line, look) in enumerate(zip(lines, _looks(lines), strict=True)):
                if row.only in (None, i):
                    _draw(axes, line, look, row.metric)
            _dress(axes, evidence, lines, row, lowest)
            axes.tick_params(labelleft=x == 0)
            axes.set_ylabel(row.words if x == 0 else "")
        panels[-1, x].set_xlabel("round")
        if name:
            panels[0, x].set_title(name, fontweight="bold", pad=8 + 72 * legend)
        panels[0, x].legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=across,
            borderaxespad=0.3,
            handlelength=1.6,
            columnspacing=1.2,
            fontsize=9,
        )
    return figure


def intermittent(lines: Sequence[Labeled]) -> bool:
    """Whether there are rounds without an attack between rounds with one."""
    struck = filter(None, (attacked(record) for line in lines for record in line.records))
    return any(rounds[-1] - rounds[0] >= len(rounds) for rounds in struck)


def norms(evidence: Evidence, suite: str) -> Figure:
    """Honest norms by round, and how they are distributed over rounds and seeds."""
    figure = Figure(figsize=(9.2, 3.2))
    by_round = figure.add_axes((0.075, 0.155, 0.5, 0.73))
    histogram = figure.add_axes((0.66, 0.155, 0.325, 0.73))
    records = [record for line in evidence.lines[suite] for record in evidence.of(line)]
    limit = evidence.values["norm2"]
    found = {m: over_seeds(records, m) for m in ("honest_norm_median", "honest_norm_max")}
    everything = {m: [v for vs in by.values() for v in vs] for m, by in found.items()}
    longest = max([limit, *everything["honest_norm_max"]])
    bins = [longest * i / 30 for i in range(31)]
    names = ("median of a round", "longest of a round")
    for metric, name, color in zip(found, names, (SERIES[1], SERIES[0]), strict=True):
        band(by_round, found[metric], Look(color), name)
        histogram.hist(everything[metric], bins=bins, color=color, alpha=0.55, linewidth=0)
    label = f"the paper's 2, here {limit:.3g}"
    by_round.axhline(limit, color=INK, linewidth=1, linestyle="--", label=label)
    histogram.axvline(limit, color=INK, linewidth=1, linestyle="--")
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
    colors = (Look(*series(i)) for i in range(1, len(lines) + 1))
    plain = (Look(MUTED, DASHES[i % len(DASHES)]) for i in range(len(lines)))
    return [next(colors if line.is_attacked else plain) for line in lines]


def _rows(strips: int) -> list[Row]:
    """With the backdoor in a panel for all lines, or in as many strips as there are lines."""
    backdoor = [Row("backdoor_in_sample", "backdoor\nin-sample")]
    if strips:
        words = {strips // 2: "backdoor in-sample"}
        backdoor = [
            Row("backdoor_in_sample", words.get(i, ""), height=0.55, only=i) for i in range(strips)
        ]
    main = Row("main_accuracy", "main\naccuracy")
    return [main, *backdoor, Row("cumulative", "backdoor, mean\nof rounds so far")]


def _legend_columns(lines: Sequence[Labeled], wide: float) -> int:
    longest = max(len(_label(line)) for line in lines)
    fitting = max(1, min(len(lines), int(wide / (0.07 * longest + 0.4))))
    return math.ceil(len(lines) / math.ceil(len(lines) / fitting))


def _label(line: Labeled) -> str:
    return f"{line.label} ({line.withheld})" if line.withheld else line.label


def _draw(axes: Axes, line: Labeled, look: Look, metric: str) -> None:
    if metric == "main_accuracy":
        band(axes, over_seeds(line.records, metric), look, _label(line))
    elif not line.withheld:
        found = [points(record, "backdoor_in_sample") for record in line.records]
        if metric == "cumulative":
            found = [so_far(curve) for curve in found]
        band(axes, gathered(found), look, _label(line))


def _dress(
    axes: Axes, evidence: Evidence, lines: Sequence[Labeled], row: Row, lowest: float
) -> None:
    percent_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    T = evidence.runs["federation.rounds"].max()
    axes.set_xlim(-0.03 * T, 1.02 * T)
    for first, end in {tuple(line.window) for line in lines if line.window}:
        axes.axvspan(first - 0.5, end - 0.5, color=MUTED, alpha=0.1, linewidth=0)
    if row.metric != "main_accuracy":
        ticks = (0, 0.25, 0.5, 0.75, 1) if row.only is None else (0, 0.5, 1)
        axes.set(ylim=(-0.03, 1.03), yticks=ticks)
        return
    axes.set_ylim(lowest, 1.02)
    if evidence.main is not None:
        axes.axhline(evidence.main, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))


def _lowest_main(lines: Iterable[Labeled]) -> float:
    """Where the axis of main accuracy begins: the same for all panels, and near what is there."""
    values = [
        value
        for line in lines
        for record in line.records
        for at, value in points(record, "main_accuracy").items()
        if at >= record.config["federation"]["rounds"] // 5
    ]
    return max(0.0, math.floor(10 * min([*values, 0.8])) / 10 - 0.02)
