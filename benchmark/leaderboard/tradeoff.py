"""Main accuracy against backdoor accuracy: what each defense keeps out, and what it costs."""

from itertools import product
from math import cos, radians, sin

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from benchmark.leaderboard.board import COLLAPSE, SUCCESS, Cell, Section
from benchmark.leaderboard.drawing import GOOD, INK, MUTED, percent_axis, series

SIZE = (7.4, 5.2)
MARKERS = "osD^vP"
RADII = (9, 16, 26, 38, 52, 68, 86, 106, 128)
ANGLES = (0, 20, -20, 45, -45, 70, -70, 90, -90, 135, -135, 180)


def tradeoff(sections: list[Section]) -> Figure:
    """One point for each attack on each defense, with intervals; sections below each other.

    Points of collapsed models would squeeze all others together, so they sit on the lower edge
    as a triangle that names the accuracy.
    """
    figure = Figure(figsize=(SIZE[0], SIZE[1] * len(sections)), layout="constrained")
    FigureCanvasAgg(figure)
    drawn = []
    for axes, section in zip(
        figure.subplots(len(sections), 1, squeeze=False)[:, 0], sections, strict=True
    ):
        if len(sections) > 1:
            axes.set_title(section.setting.label)
        drawn.append((axes, _points(axes, section)))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, labels in drawn:
        _place(axes, labels)
    return figure


def _points(axes: Axes, section: Section) -> list[tuple[float, float, str, str]]:
    """Draw everything but the labels; returns ``(x, y, text, color)`` of those."""
    shown = [c for c in section.cells if c.main and c.in_sample]
    low, high = _limits(shown, section)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(low, high)
    axes.set_xlabel("in-sample backdoor accuracy")
    axes.set_ylabel("main accuracy")
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    if section.floor is not None:
        corner = Rectangle(
            (-0.03, section.floor), SUCCESS + 0.03, high - section.floor, color=GOOD, zorder=0
        )
        axes.add_patch(corner)
        axes.axhline(section.floor, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.text(1.02, section.floor, "accuracy gate", color=MUTED, ha="right", va="bottom")
    axes.text(-0.02, high, "↖ better: main task kept, backdoor kept out", va="top", color=INK)
    labels = []
    for cell in shown:
        assert cell.main and cell.in_sample
        index = section.position(cell.attack)
        color, _ = series(index)
        x, y = cell.in_sample.mean, cell.main.mean
        name = cell.defense
        if y < low:
            axes.plot(x, low, marker="v", color=color, markersize=8, clip_on=False)
            y, name = low, f"{cell.defense}: main {100 * y:.0f} %"
        else:
            _point(axes, cell, x, y, index)
        if index > 0 or y == low:
            labels.append((x, y, name, color))
    for attack in section.attacks:
        index = section.position(attack)
        axes.plot(
            [], [], marker=MARKERS[index % len(MARKERS)], color=series(index)[0], label=attack, ls=""
        )
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.11), ncols=3, handletextpad=0.2)
    return labels


def _point(axes: Axes, cell: Cell, x: float, y: float, index: int) -> None:
    assert cell.main and cell.in_sample
    axes.errorbar(
        x,
        y,
        xerr=cell.in_sample.half_width,
        yerr=cell.main.half_width,
        color=series(index)[0],
        marker=MARKERS[index % len(MARKERS)],
        markersize=6 if index else 4,
        elinewidth=1,
        alpha=1 if index else 0.7,
    )


def _limits(cells: list[Cell], section: Section) -> tuple[float, float]:
    """Range of main accuracy: all models that have not collapsed, and the gate."""
    least = 0.0 if section.reference is None else COLLAPSE * section.reference.mean
    sound = [c.main.mean for c in cells if c.main and c.main.mean >= least]
    edges = [*sound, *([] if section.floor is None else [section.floor])] or [0.0, 1.0]
    margin = 0.15 * max(max(edges) - min(edges), 0.02)
    return min(edges) - 1.5 * margin, max(edges) + 2 * margin


def _place(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write each label at the nearest free place; one that finds none stays off the figure."""
    inside = axes.get_window_extent()
    taken = [_around(axes, x, y, 5) for x, y, _, _ in labels]
    taken += [text.get_window_extent() for text in axes.texts]
    scale = axes.figure.dpi / 72
    written: set[tuple[int, int, str]] = set()
    for x, y, text, color in sorted(labels):
        at = axes.transData.transform((x, y))
        if (twin := (round(at[0] / 12), round(at[1] / 12), text)) in written:
            continue
        written.add(twin)
        note = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", color=color, fontsize=8.5
        )
        box = note.get_window_extent()
        for radius, angle in product(RADII, ANGLES):
            dx, dy = radius * cos(radians(angle)), radius * sin(radians(angle))
            left = abs(angle) > 90
            center = abs(angle) == 90
            start = -box.width if left else -box.width / 2 if center else 0
            x0, y0 = at[0] + dx * scale + start, at[1] + dy * scale - box.height / 2
            moved = Bbox.from_bounds(x0, y0, box.width, box.height)
            if _within(moved, inside) and not any(moved.overlaps(other) for other in taken):
                note.remove()
                axes.annotate(
                    text,
                    (x, y),
                    (dx, dy),
                    textcoords="offset points",
                    color=color,
                    fontsize=8.5,
                    va="center",
                    ha="right" if left else "center" if center else "left",
                    arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkB": 4}
                    if radius > RADII[0]
                    else None,
                )
                taken.append(moved)
                break
        else:
            note.remove()


def _around(axes: Axes, x: float, y: float, reach: float) -> Bbox:
    px, py = axes.transData.transform((x, y))
    return Bbox.from_extents(px - reach, py - reach, px + reach, py + reach)


def _within(box: Bbox, outer: Bbox) -> bool:
    return bool(
        box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
    )
