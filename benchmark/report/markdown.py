"""A report as Markdown."""

import re
from collections.abc import Sequence
from typing import Any

from benchmark.report import document as doc
from benchmark.report.media import visible
from benchmark.report.numbers import NOTHING


def to_markdown(document: doc.Document, folder: str = "") -> str:
    """The report; its pictures lie in ``folder``, relative to it."""
    blocks: list[doc.Block] = [doc.Heading(1, document.title)]
    blocks += [doc.Paragraph(document.lead)] if document.lead else []
    return _blocks([*blocks, *document.blocks], folder) + "\n"


def _blocks(blocks: Sequence[doc.Block], folder: str) -> str:
    return "\n\n".join(_block(block, folder) for block in visible(blocks, "text"))


def _block(block: doc.Block, folder: str) -> str:
    match block:
        case doc.Heading():
            return f"{'#' * block.level} {escaped(block.text)}"
        case doc.Paragraph():
            told = _text(block.text)
            return f"> **Note:** {told}" if block.warning else told
        case doc.Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case doc.Facts():
            return "\n".join(f"- **{escaped(term)}**: {_text(told)}" for term, told in block.items)
        case doc.Code():
            # Longer than any in the text, which so cannot end it.
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+|^", block.text)))
            return f"{fence}\n{block.text}\n{fence}"
        case doc.Table():
            return _table(block)
        case doc.Picture():
            file = f"{folder}/{block.name}.png" if folder else f"{block.name}.png"
            shown = f"![{escaped(block.title)}]({file})"
            return f"{shown}\n\n*{escaped(block.caption)}*" if block.caption else shown
        case doc.Panels():
            return _blocks(block.pictures, folder)
        case doc.Details():
            return f"**{_text(block.summary)}**\n\n{_blocks(block.blocks, folder)}"
        case doc.Prose():
            return block.markdown.strip()
        case doc.Only():
            return _blocks([block], folder)


def _table(table: doc.Table[Any]) -> str:
    columns = table.shown("text")
    if rank := table.rank:
        columns.insert(0, doc.Column("#", lambda row: str(rank(row) or NOTHING)))
    if table.status:
        columns.append(doc.Column("status", table.status, is_number=False))
    rows = [[escaped(f"{c.head} ({c.unit})" if c.unit else c.head) for c in columns]]
    rows.append(["---:" if column.is_number else "---" for column in columns])
    rows += [[_entry(column, row) for column in columns] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _entry(column: doc.Column[Any], row: Any) -> str:
    entry = column.entry(row)
    return _text(entry.text) + (f" ({_text(entry.note)})" if entry.note else "")


def _text(text: doc.Text) -> str:
    return "".join(map(_piece, doc.pieces(text)))


def _piece(piece: str | doc.Mark | doc.Link) -> str:
    match piece:
        case doc.Link() if not piece.href.startswith("#"):
            return f"[{escaped(piece.text)}]({piece.address})"
        case doc.Mark(text, "code"):
            # A span of code shows all characters but these two as they are.
            return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`" if text else ""
        case doc.Mark(text, "strong" | "verdict"):
            return f"**{escaped(text)}**"
        case doc.Mark() | doc.Link():
            return escaped(piece.text)
        case text:
            return escaped(text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no emphasis, no end of a table's cell."""
    text = re.sub(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
