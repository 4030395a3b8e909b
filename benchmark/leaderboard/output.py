"""Everything a leaderboard is written to."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.leaderboard import curves
from benchmark.leaderboard.board import Leaderboard
from benchmark.leaderboard.build import build
from benchmark.leaderboard.page import to_html
from benchmark.leaderboard.plain import to_json
from benchmark.leaderboard.text import to_markdown
from benchmark.leaderboard.tradeoff import tradeoff
from benchmark.report import theme as drawing
from benchmark.results.searches import Search
from benchmark.run.record import Record
from benchmark.utils.files import atomic_file


def write(
    name: str, records: list[Record], folder: Path, searches: Sequence[Search] = ()
) -> Leaderboard:
    """Write ``leaderboard.{json,md,html}``, ``tradeoff.png`` and ``curves.png`` to ``folder``.

    The same records give the same bytes, whatever their order. Each file is whole or not there.

    Args:
        name: of the suite.
        records: of its cells; the page links to them as ``records/<cell>.json`` beside it.
        folder: made if it does not exist.
        searches: for attackers; the page links to their reports beside the folder.

    Raises:
        UserError: there are no records, or two of them are the same run.
    """
    leaderboard = build(records, name, searches)
    texts = {
        "leaderboard.json": to_json(leaderboard),
        "leaderboard.md": to_markdown(leaderboard),
        "leaderboard.html": to_html(leaderboard, records),
    }
    for file, text in texts.items():
        with atomic_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    by_cell = {record.cell: record for record in records}
    with drawing.style():
        figures = {
            "tradeoff.png": tradeoff(leaderboard.sections),
            "curves.png": curves.grid(leaderboard.sections, by_cell),
        }
        for file, figure in figures.items():
            with atomic_file(folder / file) as temporary:
                drawing.png(figure, temporary)
    return leaderboard
