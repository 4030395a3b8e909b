"""A report as one HTML file that needs nothing else: no network, no JavaScript to read it.

Scripts only add sorting and copy buttons. Everything that comes from outside is escaped.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from benchmark.report import document as doc
from benchmark.report import theme
from benchmark.report.media import visible
from benchmark.report.numbers import NOTHING
from benchmark.report.theme import Draw

LONG, SOME = 60, 12
"""Characters that make a column of words a wide one, or one that is not narrow."""


def to_html(document: doc.Document, draw: Draw) -> str:
    """The page; ``draw`` makes the figures of its pictures."""
    blocks = list(visible(document.blocks, "page"))
    templates = Environment(
        loader=PackageLoader("benchmark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        anchor=anchor,
        breadth=breadth,
        key=key,
        kind=lambda block: type(block).__name__.lower(),
        pieces=doc.pieces,
        plain=doc.plain,
        prose=prose,
        unbroken=unbroken,
        visible=lambda blocks: visible(blocks, "page"),
    )
    script = templates.get_template("report/page.js.jinja").render() if _has_script(blocks) else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    with theme.style():
        return templates.get_template("report/page.html.jinja").render(
            document=document,
            blocks=blocks,
            headings=_navigation(blocks),
            figure=lambda picture: _embedded(picture, draw),
            script=Markup(script),
            digest=digest,
            line=theme.css,
            nothing=NOTHING,
        )


def anchor(heading: doc.Heading) -> str:
    """A heading's id, from its words unless it names one."""
    words = heading.text.partition(":")[0].lower()
    return heading.anchor or re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def unbroken(text: str) -> str:
    """Numbers and formulas stay on one line: ``M = 3``, ``1.0 ± 0.2 %``, ``1.0 (0–2.5)``."""
    return re.sub(r" (?=[=±%]|\(\d)|(?<=[=±]) ", "\N{NO-BREAK SPACE}", text)


def breadth(column: doc.Column[Any], table: doc.Table[Any]) -> str:
    """A class for the entries of a column of words."""
    longest = max((len(doc.plain(column.entry(row).text)) for row in table.rows), default=0)
    return "num" if column.is_number else "long" if longest > LONG else "some" * (longest > SOME)


def key(column: doc.Column[Any], row: Any) -> str:
    """What an entry is sorted by; empty sorts last in both directions."""
    entry = column.entry(row)
    if isinstance(entry.key, int | float):
        return f"{entry.key:.6g}"
    return entry.key or ("" if column.is_number else doc.plain(entry.text))


def prose(markdown: str) -> Markup:
    """Markdown below a heading: HTML in it is text, commands can be copied, tables scroll."""
    made = MarkdownIt("js-default", {"html": False, "linkify": False})
    made.add_render_rule("fence", _command)
    region = '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
    made.add_render_rule("table_open", lambda *_: f"{region}\n<table>\n")
    made.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    tokens = made.parse(markdown)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = max(token.tag, "h3")
    return Markup(made.renderer.render(tokens, made.options, {}))


def _command(self: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return str(Markup('<div class="command"><pre>{}</pre></div>\n').format(tokens[index].content))


def _navigation(blocks: Sequence[doc.Block]) -> list[doc.Heading]:
    """The headings of the highest level that has several."""
    found = [block for block in blocks if isinstance(block, doc.Heading)]
    levels = [[h for h in found if h.level == level] for level in (2, 3)]
    return next((headings for headings in levels if len(headings) > 1), levels[0])


def _has_script(blocks: Sequence[doc.Block]) -> bool:
    """Whether there is anything to sort, to copy or to open."""
    return any(
        isinstance(block, doc.Code | doc.Details)
        or (isinstance(block, doc.Table) and block.is_sortable)
        or (isinstance(block, doc.Prose) and "```" in block.markdown)
        for block in blocks
    )


def _embedded(picture: doc.Picture, draw: Draw) -> Markup:
    """A figure as SVG; a PNG as it is."""
    drawn = draw(picture.name)
    if isinstance(drawn, bytes):
        data = base64.b64encode(drawn).decode()
        shown = Markup('<img alt="{}" src="data:image/png;base64,{}">')
        return shown.format(picture.title, data)
    return Markup(theme.svg(drawn, picture.name))
