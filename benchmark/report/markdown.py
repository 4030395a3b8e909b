"""A report as Markdown."""

import re
from collections.abc import Sequence
from typing import Any

from benchmark.report.document import (
    Block,
    Bullets,
    Code,
    Facts,
    Heading,
    Link,
    Mark,
    Paragraph,
    Picture,
    Prose,
    Table,
    Text,
    pieces,
)


def to_markdown(blocks: Sequence[Block], folder: str) -> str:
    """The report; its pictures lie in ``folder``, relative to it."""
    return "\n\n".join(_block(block, folder) for block in blocks) + "\n"


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_plain(block.text)}"
        case Paragraph():
            told = _text(block.text)
            return f"> **Note:** {told}" if block.warning else told
        case Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case Facts():
            return "\n".join(f"- **{_plain(term)}**: {_text(told)}" for term, told in block.items)
        case Code():
            return f"```\n{block.text}\n```"
        case Table():
            return _table(block)
        case Picture():
            caption = _plain(block.caption)
            return f"![{_plain(block.title)}]({folder}/{block.name}.png)\n\n*{caption}*"
        case Prose():
            return block.markdown.strip()
        case _:
            raise NotImplementedError(type(block).__name__)


def _table(table: Table[Any]) -> str:
    rows = [
        [_plain(f"{c.head} ({c.unit})" if c.unit else c.head) for c in table.columns],
        ["---:" if column.is_number else "---" for column in table.columns],
    ]
    rows += [[_text(column.entry(row).text) for column in table.columns] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _text(text: Text) -> str:
    return "".join(map(_piece, pieces(text)))


def _piece(piece: str | Mark | Link) -> str:
    match piece:
        case Link():
            return f"[{_plain(piece.text)}]({piece.href})"
        case Mark(text, "code"):
            # A span of code shows all characters but these two as they are.
            return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`"
        case Mark(text):
            return f"**{_plain(text)}**"
        case text:
            return _plain(text)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no emphasis, no end of a table's cell."""
    text = re.sub(r"([\\`*\[\]|$~_])", r"\\\1", text.replace("\n", " "))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
