"""Main accuracy against backdoor accuracy: what each defense keeps out, and what it costs."""

from itertools import product
from math import cos, hypot, radians, sin

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from benchmark.leaderboard.board import Section
from benchmark.report.theme import GOOD, INK, MUTED, percent_axis, series
from benchmark.results.gates import SUCCESS, has_collapsed
from benchmark.results.statistics import Estimate

SIZE = (7.4, 5.2)
MARKERS = "osD^vP"
RADII = (9, 16, 26, 38, 52, 68, 86, 106, 128)
ANGLES = (0, 20, -20, 45, -45, 70, -70, 110, -110, 135, -135, 180)
"""Where a label may stand: points and degrees from its point, the best place first."""


def tradeoff(sections: list[Section]) -> Figure:
    """One point for each attack on each defense, with intervals; sections below each other.

    Points of collapsed models would squeeze all others together, so they sit on the lower edge
    as triangles; the tables have their numbers.
    """
    figure = Figure(figsize=(SIZE[0], SIZE[1] * len(sections)), layout="constrained")
    FigureCanvasAgg(figure)
    drawn = []
    places = figure.subplots(len(sections), squeeze=False).flat
    for axes, section in zip(places, sections, strict=True):
        if len(sections) > 1:
            axes.set_title(section.setting.label)
        drawn.append((axes, _points(axes, section)))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, labels in drawn:
        _place(axes, labels)
    return figure


def _points(axes: Axes, section: Section) -> list[Annotation]:
    """Draw everything; the labels lie on their points."""
    shown = [(c, c.in_sample, c.main) for c in section.cells if c.main and c.in_sample]
    usual = section.reference.mean if section.reference else 0.0
    sound = [main.mean for _, _, main in shown if not has_collapsed(main.mean, usual)]
    edges = [*sound, *([] if section.floor is None else [section.floor])] or [0.0, 1.0]
    margin = 0.15 * max(max(edges) - min(edges), 0.02)
    low, high = min(edges) - 1.5 * margin, max(edges) + 2 * margin
    _frame(axes, section, low, high)
    labels: dict[str, tuple[float, float, str]] = {}
    for cell, backdoor, main in shown:
        index = section.position(cell.attack)
        color, x, y = series(index)[0], backdoor.mean, main.mean
        if y < low:
            y = low + 0.02 * (high - low)
            axes.plot(x, y, marker="v", color=color, markersize=7)
            labels[f"{cell.defense}: main accuracy off scale"] = (x, y, MUTED)
            continue
        marker, size = MARKERS[index % len(MARKERS)], 6 if index else 4
        dy, dx = _bars(main), _bars(backdoor)
        axes.errorbar(x, y, dy, dx, color=color, marker=marker, markersize=size, elinewidth=1)
        if index:
            # Of the same name are two labels: a space tells them apart.
            labels[cell.defense + " " * index] = (x, y, color)
    return [
        axes.annotate(
            text.rstrip(),
            (x, y),
            (0, 0),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
            va="center",
            in_layout=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkB": 5},
        )
        for text, (x, y, color) in sorted(labels.items(), key=lambda item: (item[1], item[0]))
    ]


def _bars(share: Estimate) -> list[list[float]]:
    low, high = share.share() or (share.mean, share.mean)
    return [[share.mean - low], [high - share.mean]]


def _frame(axes: Axes, section: Section, low: float, high: float) -> None:
    """Axes, the good corner, the gate and the legend."""
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(low, high)
    axes.set_xlabel("in-sample backdoor accuracy")
    axes.set_ylabel("main accuracy")
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    if section.floor is not None:
        size = (SUCCESS + 0.03, high - section.floor)
        axes.add_patch(Rectangle((-0.03, section.floor), *size, color=GOOD, zorder=0))
        axes.axhline(section.floor, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.text(1.02, section.floor, "accuracy gate", color=MUTED, ha="right", va="top")
    axes.text(-0.02, high, "↖ better: main task kept, backdoor kept out", va="top", color=INK)
    for attack in section.attacks:
        index = section.position(attack)
        marker = MARKERS[index % len(MARKERS)]
        axes.plot([], [], marker=marker, color=series(index)[0], label=attack, ls="")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.11), ncols=3, handletextpad=0.2)


def _place(axes: Axes, labels: list[Annotation]) -> None:
    """Move each label to the nearest place where it covers least: no words or points, no bars."""
    inside, points = axes.get_window_extent(), axes.transData.transform([x.xy for x in labels])
    words = [Bbox.from_extents(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    words += [text.get_window_extent() for text in axes.texts if text not in labels]
    ends = [ends for bars in axes.containers for each in bars[2] for ends in each.get_segments()]
    bars = [Bbox(axes.transData.transform(each)).padded(2) for each in ends]
    pixels = axes.figure.dpi / 72
    for label, (px, py) in zip(labels, points, strict=True):
        size = Text.get_window_extent(label)
        places: list[tuple[tuple[int, int, int], float, float, Bbox]] = []
        for radius, angle in product(RADII, ANGLES):
            x, y = radius * cos(radians(angle)), radius * sin(radians(angle))
            left = px + x * pixels - (size.width if x < 0 else 0)
            box = Bbox.from_bounds(left, py + y * pixels - size.height / 2, size.width, size.height)
            if inside.fully_contains(*box.min) and inside.fully_contains(*box.max):
                cost = (box.count_overlaps(words), box.count_overlaps(bars), len(places))
                places.append((cost, x, y, box))
        if not places:
            label.remove()
            continue
        _, x, y, box = min(places, key=lambda place: place[0])
        words.append(box)
        label.set(position=(x, y), horizontalalignment="right" if x < 0 else "left")
        if label.arrow_patch:
            label.arrow_patch.set_visible(hypot(x, y) > RADII[2])
