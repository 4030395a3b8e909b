"""A report in the terminal."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as Grid
from rich.text import Text as Line

from benchmark.report import document as doc
from benchmark.report.media import visible
from benchmark.report.numbers import NOTHING

STYLES: dict[doc.Kind, str] = {
    "strong": "bold",
    "code": "cyan",
    "verdict": "bold",
    "hot": "bold red",
    "gap": "yellow",
    "quiet": "dim",
    "plain": "",
}
Shown = RenderableType
"""What a console prints."""

HEAD = 11
"""Characters of a number's heading, after which it goes on below."""


def to_terminal(blocks: Sequence[doc.Block]) -> Shown:
    """The blocks below each other; tables have more columns where there is room for them."""
    return Group(*map(_block, visible(blocks, "text")))


def _block(block: doc.Block) -> RenderableType:
    match block:
        case doc.Heading():
            return Line(block.text, style="bold")
        case doc.Paragraph():
            return _line(block.text, "yellow" if block.warning else "")
        case doc.Bullets():
            return Group(*(Line("- ").append_text(_line(item)) for item in block.items))
        case doc.Facts():
            facts = [Line(f"{term}: ").append_text(_line(told)) for term, told in block.items]
            return Group(*facts)
        case doc.Code():
            return Line(block.text, style=STYLES["code"])
        case doc.Table():
            return _Fitting(block)
        case doc.Picture() | doc.Panels():
            return Group()
        case doc.Details():
            return Group(_line(block.summary), to_terminal(block.blocks))
        case doc.Prose():
            return Line(block.markdown)
        case doc.Only():
            return to_terminal([block])


class _Fitting:
    """A table that drops the columns for which a terminal has no room."""

    def __init__(self, table: doc.Table[Any]) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, title = self.table, Line(self.table.title, style="bold")
        columns = [c for c in table.shown("text") if c.room <= options.max_width]
        if rank := table.rank:
            columns.insert(0, doc.Column("#", lambda row: str(rank(row) or NOTHING)))
        grid = Grid(
            title=title if table.title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in columns:
            head = [column.head, column.unit] if column.unit else [column.head]
            grid.add_column(
                "\n".join(fill(part, HEAD, break_long_words=False) for part in head),
                justify="right" if column.is_number else "left",
                no_wrap=column.is_number,
                overflow="fold",
            )
        for row in table.rows:
            entries = [_entry(column, row) for column in columns]
            grid.add_row(*entries, style="dim" if table.is_quiet(row) else "")
        yield grid
        # Below the table: a column is too narrow for sentences.
        for row in table.rows:
            if table.status and (told := table.status(row)):
                named = table.columns[0].entry(row)
                note = f" ({doc.plain(named.note)})" if named.note else ""
                yield _line((f"{doc.plain(named.text)}{note}: ", *doc.pieces(told)), "yellow")


def _entry(column: doc.Column[Any], row: Any) -> Line:
    """Numbers have no note: there is no room for it."""
    entry = column.entry(row)
    told = _line(entry.text)
    if entry.note and not column.is_number:
        told.append_text(_line(("\n", *doc.pieces(entry.note)), "dim"))
    return told


def _line(text: doc.Text, style: str = "") -> Line:
    line = Line(style=style)
    for piece in doc.pieces(text):
        if isinstance(piece, str):
            line.append(piece)
        else:
            line.append(piece.text, style=STYLES[piece.kind])
    return line
