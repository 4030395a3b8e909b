"""What all figures share: colors that follow the page's scheme, SVG to embed, PNG to keep."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, GOOD = "#1b2430", "#5b6676", "#d5dae1", "#dff3e6"
SERIES = ("#c0271d", "#1d5fc4", "#a8590a", "#12764a", "#7b3aa8", "#0f7285")
LEVELS = ("#0d0887", "#7e03a8", "#c03a83", "#e66c5c", "#eda72f")
"""Of matplotlib's plasma: in order of lightness, told apart with any color vision."""

Dash = Literal["-", "--", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", ":")

Draw = Callable[[str], Figure | bytes]
"""A picture's name → its figure, drawn under :func:`style`, or its PNG."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    GOOD: "--good",
    **{color: f"--series-{i}" for i, color in enumerate(SERIES)},
    **{color: f"--level-{i}" for i, color in enumerate(LEVELS)},
}
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar sign
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of all reports, whatever the user's matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def series(index: int) -> tuple[str, Dash]:
    """Color and dashes of the line at ``index``; 0 is the one that others are compared with."""
    if index == 0:
        return MUTED, DASHES[0]
    color = SERIES[(index - 1) % len(SERIES)]
    return color, DASHES[(index - 1) // len(SERIES) % len(DASHES)]


def css(index: int) -> str:
    """The same for a line that the page's style sheet draws."""
    color, dashes = series(index)
    style = {"-": "solid", "--": "dashed", ":": "dotted"}[dashes]
    return f"border-color: {_variable(color)}; border-top-style: {style}"


def _variable(color: str) -> str:
    return f"var({_VARIABLES[color]})"


def percent_axis(axes: Axes, which: str) -> None:
    """Shares in [0, 1], shown as percent."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def svg(figure: Figure, name: str) -> str:
    """An ``<svg>`` element to embed: transparent, real text, colors from CSS variables.

    Its own width is the variable ``--width``, 12 points to 1 rem; paths are exact to 0.1 points.

    Args:
        figure: drawn under :func:`style`.
        name: unique on the page; makes the element's internal ids its own.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    found = text.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r' id="[A-Za-z0-9]+(\.[a-z]+)?_\d+"', "", found)
    found = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", found, count=1)
    found = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", found, count=1)
    found = re.sub(r"(font:[^;\"]*?px) [^;\"]*", r"\1 system-ui, sans-serif", found)
    found = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), found)
    for color in _VARIABLES:
        found = found.replace(color, _variable(color))
    width = 72 * figure.get_figwidth() / 12
    shown = f'<svg aria-hidden="true" focusable="false" style="--width: {width:.1f}rem"'
    return found.replace("<svg", shown, 1)


def png(figure: Figure, path: Path) -> None:
    """Write a PNG that depends on nothing but the figure."""
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
