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

HEIGHTS = (1.25, 1.5, 0.85)
"""Inches of a panel on the sheet: its head, backdoor accuracy, main accuracy."""


def panel(section: Section, defense: str, records: dict[str, Record]) -> Figure:
    """One defense: backdoor accuracy above, main accuracy below.

    Args:
        section: of the leaderboard.
        defense: its label.
        records: by cell.
    """
    figure = Figure(figsize=PANEL, layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(3, 2))
    _draw(top, bottom, section, defense, records)
    return figure


def grid(sections: list[Section], records: dict[str, Record]) -> Figure:
    """All panels of all sections on one sheet, each section with a legend above its first.

    The margins are given: matplotlib's solver for nested layouts does not give the same bytes each
    time.
    """
    places: list[tuple[Section, str | None]] = []
    for section in sections:
        empty = [None] * (-len(section.defenses) % COLUMNS)
        places += [(section, defense) for defense in (*section.defenses, *empty)]
    rows = len(places) // COLUMNS
    height = rows * sum(HEIGHTS)
    figure = Figure(figsize=(COLUMNS * PANEL[0], height))
    margins = {"left": 0.08, "right": 0.99, "bottom": 0.5 / height, "top": 1, "hspace": 0.1}
    axes = figure.subplots(
        3 * rows, COLUMNS, gridspec_kw={**margins, "wspace": 0.4, "height_ratios": HEIGHTS * rows}
    )
    for i, (section, defense) in enumerate(places):
        head, top, bottom = axes.reshape(rows, 3, COLUMNS)[i // COLUMNS, :, i % COLUMNS]
        head.set_axis_off()
        if defense is None:
            top.set_axis_off()
            bottom.set_axis_off()
            continue
        _draw(top, bottom, section, defense, records)
        top.set_title(fill(defense, 36), fontweight="bold")
        if defense == section.defenses[0]:
            looks = {attack: series(section.position(attack)) for attack in section.attacks}
            lines = [Line2D([], [], color=c, ls=ls, label=a) for a, (c, ls) in looks.items()]
            title = section.setting.label or None
            head.legend(handles=lines, loc="center left", ncols=4, title=title, alignment="left")
    return figure


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
    bottom.sharex(top)
    top.tick_params(labelbottom=False)
    top.set_ylabel("backdoor\nin-sample")
    bottom.set_ylabel("main")
    bottom.set_xlabel("round")
    for axes in (top, bottom):
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks((0, 0.5, 1))
        percent_axis(axes, "y")
    if section.floor is not None:
        bottom.axhline(section.floor, color=series(0)[0], linewidth=0.8, linestyle=(0, (2, 3)))
