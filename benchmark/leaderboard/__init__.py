"""Records to tables, figures and a page."""

from benchmark.leaderboard.board import Leaderboard
from benchmark.leaderboard.build import build
from benchmark.leaderboard.output import write
from benchmark.leaderboard.page import to_html
from benchmark.leaderboard.plain import to_json
from benchmark.leaderboard.terminal import to_terminal
from benchmark.leaderboard.text import to_markdown
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS
from benchmark.results.searches import read as searches

__all__ = [
    "COLLAPSE",
    "GATE",
    "SUCCESS",
    "Leaderboard",
    "build",
    "searches",
    "to_html",
    "to_json",
    "to_markdown",
    "to_terminal",
    "write",
]
