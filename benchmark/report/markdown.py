"""A report as Markdown."""

import re
from collections.abc import Sequence
from typing import Any

from benchmark.report.document import (
    Block,
    Bullets,
    Code,
    Column,
    Details,
    Document,
    Facts,
    Heading,
    Link,
    Mark,
    Only,
    Panels,
    Paragraph,
    Picture,
    Prose,
    Table,
    Text,
    pieces,
    visible,
)
from benchmark.report.numbers import NOTHING


def to_markdown(document: Document, folder: str = "") -> str:
    """The report; its pictures lie in ``folder``, relative to it."""
    blocks: list[Block] = [Heading(1, document.title)]
    blocks += [Paragraph(document.lead)] if document.lead else []
    return _blocks([*blocks, *document.blocks], folder) + "\n"


def _blocks(blocks: Sequence[Block], folder: str) -> str:
    return "\n\n".join(_block(block, folder) for block in visible(blocks, "text"))


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escaped(block.text)}"
        case Paragraph():
            told = _text(block.text)
            return f"> **Note:** {told}" if block.warning else told
        case Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case Facts():
            return "\n".join(f"- **{escaped(term)}**: {_text(told)}" for term, told in block.items)
        case Code():
            # Longer than any in the text, which so cannot end it.
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+|^", block.text)))
            return f"{fence}\n{block.text}\n{fence}"
        case Table():
            return _table(block)
        case Picture():
            file = f"{folder}/{block.name}.png" if folder else f"{block.name}.png"
            shown = f"![{escaped(block.title)}]({file})"
            return f"{shown}\n\n*{escaped(block.caption)}*" if block.caption else shown
        case Panels():
            return _blocks(block.pictures, folder)
        case Details():
            return f"**{_text(block.summary)}**\n\n{_blocks(block.blocks, folder)}"
        case Prose():
            return block.markdown.strip()
        case Only():
            return _blocks([block], folder)


def _table(table: Table[Any]) -> str:
    columns = table.shown("text")
    if rank := table.rank:
        columns.insert(0, Column("#", lambda row: str(rank(row) or NOTHING)))
    if table.status:
        columns.append(Column("status", table.status, is_number=False))
    rows = [[escaped(f"{c.head} ({c.unit})" if c.unit else c.head) for c in columns]]
    rows.append(["---:" if column.is_number else "---" for column in columns])
    rows += [[_entry(column, row) for column in columns] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _entry(column: Column[Any], row: Any) -> str:
    entry = column.entry(row)
    return _text(entry.text) + (f" ({_text(entry.note)})" if entry.note else "")


def _text(text: Text) -> str:
    return "".join(map(_piece, pieces(text)))


def _piece(piece: str | Mark | Link) -> str:
    match piece:
        case Link() if not piece.href.startswith("#"):
            return f"[{escaped(piece.text)}]({piece.address})"
        case Mark(text, "code"):
            # A span of code shows all characters but these two as they are.
            return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`" if text else ""
        case Mark(text, "strong" | "verdict"):
            return f"**{escaped(text)}**"
        case Mark() | Link():
            return escaped(piece.text)
        case text:
            return escaped(text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no emphasis, no end of a table's cell."""
    text = re.sub(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
