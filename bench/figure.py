"""All measurements on one sheet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.measure import Spread
from bench.overhead import COUNTED, PARTS
from bench.report import read
from benchmark.utils.files import atomic_file

INK, QUIET, GRID = "#1f2430", "#6b7280", "#e5e7eb"
OURS, THEIRS = "#2563a8", "#9aa3af"
LIMIT = "#b5533c"


def draw(folder: Path) -> Path:
    """Draw what was measured as ``bench.png`` beside the JSON.

    Args:
        folder: with the results; a panel whose result is not there stays empty.
    """
    figure = Figure(figsize=(14, 8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[tuple[str, str, Callable[[Axes, dict[str, Any]], None]]] = [
        ("engines", "Paper's model: speed, naive loop = 1", _engines("paper")),
        ("engines", "Small model: speed, naive loop = 1", _engines("small")),
        ("neighbor", "Beside a busy process, x as long", _neighbor),
        ("overhead", "A round beside local training, % of it", _overhead),
        ("scaling", "ms a client, by clients a round", _scaling),
        ("memory", "MiB resident, by rounds", _memory),
    ]
    for axes, (name, title, panel) in zip(figure.subplots(2, 3).flat, panels, strict=True):
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GRID)
        axes.tick_params(colors=QUIET, labelsize=9)
        result = read(folder, name)
        if result is not None:
            panel(axes, result.data)
        if not axes.has_data():
            axes.set_axis_off()
            axes.text(0, 0.9, "not measured", color=QUIET, transform=axes.transAxes)
    path = folder / "bench.png"
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def _legend(axes: Axes) -> None:
    """Below the panel, where no mark can be."""
    axes.legend(
        frameon=False,
        fontsize=8,
        labelcolor=QUIET,
        loc="upper left",
        bbox_to_anchor=(0, -0.12),
        ncols=3,
        borderaxespad=0,
        columnspacing=1,
        handletextpad=0.4,
    )


def _engines(model: str) -> Callable[[Axes, dict[str, Any]], None]:
    """One variant a line, one mark for each size of cohort, quartiles as a bar."""

    def panel(axes: Axes, data: dict[str, Any]) -> None:
        rows = [row for row in data["rows"] if row["model"] == model]
        if not rows:
            return
        names = list(dict.fromkeys(row["variant"] for row in rows))[::-1]
        cohorts = sorted({row["clients"] for row in rows})
        base = {
            row["clients"]: Spread.of(row["seconds"]).median
            for row in rows
            if row["variant"] == "naive loop"
        }
        for i, K in enumerate(cohorts):
            shift = 0.22 * ((len(cohorts) - 1) / 2 - i)
            for row in (row for row in rows if row["clients"] == K):
                y = names.index(row["variant"]) + shift
                spread = Spread.of(row["seconds"])
                color = OURS if row["variant"].startswith("engine") else THEIRS
                ends = [base[K] / spread.high, base[K] / spread.low]
                axes.plot(ends, [y, y], color=color, linewidth=2, solid_capstyle="round")
                axes.plot(row["speed"], y, "osD"[i % 3], color=color, markersize=5)
        for i, K in enumerate(cohorts):
            axes.plot([], [], "osD"[i % 3], color=QUIET, markersize=5, label=f"{K} clients")
        axes.axvline(1, color=QUIET, linewidth=0.8, zorder=0)
        axes.set_xlim(left=0)
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        _legend(axes)

    return panel


def _neighbor(axes: Axes, data: dict[str, Any]) -> None:
    names = list(data["seconds"])[::-1]
    states = list(next(iter(data["seconds"].values())))[1:]
    for i, state in enumerate(states):
        for y, name in enumerate(names):
            alone = Spread.of(data["seconds"][name]["alone"]).median
            spread = Spread.of(data["seconds"][name][state])
            at = y + 0.1 * (1 - 2 * i)
            color = OURS if name.startswith("engine") else THEIRS
            axes.plot([spread.low / alone, spread.high / alone], [at, at], color=color, linewidth=2)
            axes.plot(spread.median / alone, at, "os"[i % 2], color=color, markersize=6)
        axes.plot([], [], "os"[i % 2], color=QUIET, label=state)
    axes.axvline(1, color=QUIET, linewidth=0.8, zorder=0)
    axes.axvline(data["limit"], color=LIMIT, linewidth=1, linestyle="--", label="limit")
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=GRID)
    _legend(axes)


def _overhead(axes: Axes, data: dict[str, Any]) -> None:
    parts = [part for part in PARTS if part != "local training"]
    names = list(data)
    for y, part in enumerate(parts[::-1]):
        for i, name in enumerate(names):
            at = y + 0.18 * (len(names) - 1 - 2 * i)
            share = data[name]["shares"][part]
            color = (OURS, THEIRS)[i % 2]
            axes.barh(at, share, height=0.32, color=color, label=name if y == 0 else None)
            axes.annotate(
                f"{share:.1f}",
                (share, at),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=QUIET,
            )
    labels = [f"{part} *" if part in COUNTED else part for part in parts[::-1]]
    axes.set_yticks(range(len(parts)), labels)
    limits = "\n".join(
        f"{name} {data[name]['counted']:.1f} (limit {data[name]['limit']:.0f})" for name in names
    )
    axes.plot([], [], " ", label=f"* together:\n{limits}")
    _legend(axes)


def _scaling(axes: Axes, data: dict[str, Any]) -> None:
    points = data["cohort"]
    for i, name in enumerate(dict.fromkeys(point["variant"] for point in points)):
        own = [point for point in points if point["variant"] == name]
        sizes = [point["size"] for point in own]
        each = [1000 * Spread.of(point["seconds"]).median / point["size"] for point in own]
        color = OURS if name.startswith("engine") else THEIRS
        axes.plot(sizes, each, f"-{'osD'[i % 3]}", color=color, markersize=5, label=name)
    _legend(axes)
    axes.set_xscale("log")
    sizes = sorted({point["size"] for point in points})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID)


def _memory(axes: Axes, data: dict[str, Any]) -> None:
    resident = data["growth"]["resident"]
    rounds = [(i + 1) * data["every"] for i in range(len(resident))]
    axes.plot(rounds, resident, "-o", color=OURS, markersize=5)
    axes.set_ylim(0, 1.3 * max(resident))
    axes.grid(axis="y", color=GRID)
