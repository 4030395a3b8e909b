"""What both figures share: colors that follow the page's scheme, SVG to embed, PNG to keep."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, GOOD = "#1b2430", "#5b6676", "#d5dae1", "#dff3e6"
SERIES = ("#c0271d", "#1d5fc4", "#a8590a", "#12764a", "#7b3aa8", "#0f7285")
Dash = Literal["-", "--", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", ":")

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    GOOD: "--good",
    **{color: f"--series-{i}" for i, color in enumerate(SERIES)},
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
    """Draw in the leaderboard's style, whatever the user's matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def series(index: int) -> tuple[str, Dash]:
    """Color and dashes of the attack at ``index`` in the section; 0 is the unattacked run."""
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
    for color in _VARIABLES:
        found = found.replace(color, _variable(color))
    return found.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def png(figure: Figure, path: Path) -> None:
    """Write a PNG that depends on nothing but the figure."""
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
