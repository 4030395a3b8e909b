"""Records to tables, figures and a page."""

from benchmark.leaderboard.board import Leaderboard
from benchmark.leaderboard.build import build
from benchmark.leaderboard.output import to_html, to_json, to_markdown, to_terminal, write
from benchmark.results.searches import read as searches

__all__ = [
    "Leaderboard",
    "build",
    "searches",
    "to_html",
    "to_json",
    "to_markdown",
    "to_terminal",
    "write",
]
