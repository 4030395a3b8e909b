"""Main accuracy against backdoor accuracy: what each defense keeps out, and what it costs."""

from dataclasses import dataclass, replace
from itertools import product
from math import cos, radians, sin

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from benchmark.leaderboard.board import Matchup, Section
from benchmark.report.theme import GOOD, INK, MUTED, percent_axis, series
from benchmark.results.gates import COLLAPSE, SUCCESS

SIZE = (7.4, 5.2)
MARKERS = "osD^vP"
REACH = 6.0
RADII = (9, 16, 26, 38, 52, 68, 86, 106, 128)
ANGLES = (0, 20, -20, 45, -45, 70, -70, 110, -110, 135, -135, 180)


@dataclass(frozen=True)
class _Label:
    """Text beside the point ``(x, y)``, whose intervals reach ``dx`` and ``dy`` to both sides."""

    x: float
    y: float
    dx: float
    dy: float
    text: str
    color: str

    def cross(self, axes: Axes) -> list[Bbox]:
        """The pixels that the point and its intervals cover."""
        x, y = axes.transData.transform((self.x, self.y))
        right, top = axes.transData.transform((self.x + self.dx, self.y + self.dy))
        wide, high = max(right - x, REACH), max(top - y, REACH)
        return [
            Bbox.from_extents(x - wide, y - 3, x + wide, y + 3),
            Bbox.from_extents(x - 3, y - high, x + 3, y + high),
            Bbox.from_extents(x - REACH, y - REACH, x + REACH, y + REACH),
        ]


def tradeoff(sections: list[Section]) -> Figure:
    """One point for each attack on each defense, with intervals; sections below each other.

    Points of collapsed models would squeeze all others together, so they sit on the lower edge
    as triangles; the tables have their numbers.
    """
    figure = Figure(figsize=(SIZE[0], SIZE[1] * len(sections)), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: list[tuple[Axes, list[_Label]]] = []
    for axes, section in zip(
        figure.subplots(len(sections), 1, squeeze=False)[:, 0], sections, strict=True
    ):
        if len(sections) > 1:
            axes.set_title(section.setting.label)
        drawn.append((axes, _points(axes, section)))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, labels in drawn:
        _place(axes, labels, figure.dpi)
    return figure


def _points(axes: Axes, section: Section) -> list[_Label]:
    """Draw everything but the labels, and return those."""
    shown = [c for c in section.cells if c.main and c.in_sample]
    low, high = _limits(shown, section)
    _frame(axes, section, low, high)
    edge = low + 0.02 * (high - low)
    labels = []
    fallen: dict[str, _Label] = {}
    for cell in shown:
        assert cell.main
        assert cell.in_sample
        index = section.position(cell.attack)
        color, marker = series(index)[0], MARKERS[index % len(MARKERS)]
        x, y = cell.in_sample.mean, cell.main.mean
        if y < low:
            axes.plot(x, edge, marker="v", color=color, markersize=7)
            fallen[cell.defense] = _Label(x, edge, 0, 0, cell.defense, MUTED)
            continue
        dx, dy = cell.in_sample.half_width or 0, cell.main.half_width or 0
        axes.errorbar(
            x, y, dy, dx, color=color, marker=marker, markersize=6 if index else 4, elinewidth=1
        )
        if index:
            labels.append(_Label(x, y, dx, dy, cell.defense, color))
    return labels + [replace(f, text=f"{f.text}: main accuracy off scale") for f in fallen.values()]


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


def _limits(cells: list[Matchup], section: Section) -> tuple[float, float]:
    """Range of main accuracy: all models that have not collapsed, and the gate."""
    least = 0.0 if section.reference is None else COLLAPSE * section.reference.mean
    sound = [c.main.mean for c in cells if c.main and c.main.mean >= least]
    edges = [*sound, *([] if section.floor is None else [section.floor])] or [0.0, 1.0]
    margin = 0.15 * max(max(edges) - min(edges), 0.02)
    return min(edges) - 1.5 * margin, max(edges) + 2 * margin


def _place(axes: Axes, labels: list[_Label], dpi: float) -> None:
    """Write each label at the nearest free place; one that finds none stays off the figure."""
    inside = axes.get_window_extent()
    taken = [box for label in labels for box in label.cross(axes)]
    taken += [text.get_window_extent() for text in axes.texts]
    pixels = dpi / 72
    for label in sorted(labels, key=lambda p: (p.x, p.y, p.text)):
        size = _write(axes, label, 0, 0, leader=False, keep=False)
        px, py = axes.transData.transform((label.x, label.y))
        for radius, angle in product(RADII, ANGLES):
            dx, dy = radius * cos(radians(angle)), radius * sin(radians(angle))
            start = px + dx * pixels - (size.width if dx < 0 else 0)
            box = Bbox.from_bounds(
                start, py + dy * pixels - size.height / 2, size.width, size.height
            )
            if _within(box, inside) and not any(box.overlaps(other) for other in taken):
                _write(axes, label, dx, dy, leader=radius > RADII[2])
                taken.append(box)
                break


def _write(
    axes: Axes, label: _Label, dx: float, dy: float, leader: bool, keep: bool = True
) -> Bbox:
    """Write a label ``(dx, dy)`` points from its point; returns the pixels that it covers."""
    left = dx < 0
    line = {"arrowstyle": "-", "color": label.color, "lw": 0.5, "shrinkA": 1, "shrinkB": 5}
    note = axes.annotate(
        label.text,
        (label.x, label.y),
        (dx, dy),
        textcoords="offset points",
        color=label.color,
        fontsize=8.5,
        va="center",
        ha="right" if left else "left",
        arrowprops={**line, "relpos": (float(left), 0.5)} if leader else None,
    )
    box = note.get_window_extent()
    if not keep:
        note.remove()
    return box


def _within(box: Bbox, outer: Bbox) -> bool:
    return bool(
        box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
    )
