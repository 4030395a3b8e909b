"""Accuracies by round: for each defense, every attack on it."""

from collections import defaultdict
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.leaderboard.board import Cell, Section
from benchmark.report.theme import percent_axis, series
from benchmark.run.record import Record

COLUMNS = 3
PANEL = (3.9, 3.5)
"""Inches."""

HEADER = 0.5
"""Inches above the panels of a section, for its legend and label."""


def panel(section: Section, defense: str, records: dict[str, Record]) -> Figure:
    """One defense: backdoor accuracy above, main accuracy below.

    Args:
        section: of the leaderboard.
        defense: its label.
        records: by cell.
    """
    figure = Figure(figsize=PANEL, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw(top, bottom, section, defense, records)
    return figure


def grid(sections: list[Section], records: dict[str, Record]) -> Figure:
    """All panels of all sections on one sheet, with a legend for each section.

    Everything is placed by hand: matplotlib's solver for nested layouts does not give the same
    bytes each time.
    """
    rows = [-(-len(section.defenses) // COLUMNS) for section in sections]
    width, height = COLUMNS * PANEL[0], sum(rows) * PANEL[1] + HEADER * len(sections)
    figure = Figure(figsize=(width, height))

    def axes(left: float, top: float, high: float) -> Axes:
        box = (left / width, 1 - (top + high) / height, (PANEL[0] - 1.15) / width, high / height)
        return figure.add_axes(box)

    start = 0.0
    for section, count in zip(sections, rows, strict=True):
        head = 1 - (start + 0.1) / height
        figure.legend(
            handles=_handles(section), loc="upper left", ncols=4, bbox_to_anchor=(0.01, head)
        )
        if section.setting.label:
            figure.text(0.99, head, section.setting.label, ha="right", va="top")
        for i, defense in enumerate(section.defenses):
            left = i % COLUMNS * PANEL[0] + 1.0
            above = start + HEADER + i // COLUMNS * PANEL[1] + 0.5
            top, bottom = axes(left, above, 1.5), axes(left, above + 1.65, 0.85)
            bottom.sharex(top)
            top.tick_params(labelbottom=False)
            _draw(top, bottom, section, defense, records)
            top.set_title(fill(defense, 36), fontweight="bold")
        start += HEADER + count * PANEL[1]
    return figure


def _handles(section: Section) -> list[Line2D]:
    handles = []
    for attack in section.attacks:
        color, dashes = series(section.position(attack))
        handles.append(Line2D([], [], color=color, linestyle=dashes, label=attack))
    return handles


def _draw(
    top: Axes, bottom: Axes, section: Section, defense: str, records: dict[str, Record]
) -> None:
    for attack in section.attacks:
        index, cell = section.position(attack), section.cell(attack, defense)
        backdoor = _over_seeds(cell, "backdoor_in_sample", records)
        _line(top, index, backdoor)
        _cumulative(top, index, backdoor)
        _line(bottom, index, _over_seeds(cell, "main_accuracy", records))
    top.set_ylabel("backdoor\nin-sample")
    bottom.set_ylabel("main")
    bottom.set_xlabel("round")
    for axes in (top, bottom):
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks((0, 0.5, 1))
        percent_axis(axes, "y")
    if section.floor is not None:
        bottom.axhline(section.floor, color=series(0)[0], linewidth=0.8, linestyle=(0, (2, 3)))


def _over_seeds(cell: Cell, metric: str, records: dict[str, Record]) -> dict[int, list[float]]:
    """Round → one value a seed."""
    values: dict[int, list[float]] = defaultdict(list)
    for run in cell.runs:
        curve = records[run.cell].curves.get(metric)
        if curve is not None:
            for at, value in curve.points().items():
                values[at].append(value)
    return dict(sorted(values.items()))


def _line(axes: Axes, index: int, values: dict[int, list[float]]) -> None:
    color, dashes = series(index)
    rounds = list(values)
    low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
    axes.fill_between(rounds, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(rounds, _means(values), color=color, linestyle=dashes, linewidth=1.6)


def _cumulative(axes: Axes, index: int, values: dict[int, list[float]]) -> None:
    """The mean of all rounds so far, as the paper's figures draw it."""
    total, means = 0.0, []
    for count, mean in enumerate(_means(values), start=1):
        total += mean
        means.append(total / count)
    axes.plot(list(values), means, color=series(index)[0], linewidth=0.7)


def _means(values: dict[int, list[float]]) -> list[float]:
    return [sum(v) / len(v) for v in values.values()]
