"""Accuracies by round: for each defense, every attack on it."""

from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.leaderboard.board import Section
from benchmark.report.curves import Look, band, means
from benchmark.report.theme import percent_axis, series
from benchmark.results.curves import over_seeds, so_far
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
        look = Look(*series(section.position(attack)))
        runs = [records[run.cell] for run in section.cell(attack, defense).runs]
        backdoor = over_seeds(runs, "backdoor_in_sample")
        mean = so_far(means(backdoor))
        band(top, backdoor, look)
        top.plot(list(mean), list(mean.values()), color=look.color, linewidth=0.7)
        band(bottom, over_seeds(runs, "main_accuracy"), look)
    top.set_ylabel("backdoor\nin-sample")
    bottom.set_ylabel("main")
    bottom.set_xlabel("round")
    for axes in (top, bottom):
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks((0, 0.5, 1))
        percent_axis(axes, "y")
    if section.floor is not None:
        bottom.axhline(section.floor, color=series(0)[0], linewidth=0.8, linestyle=(0, (2, 3)))
