"""The report as one HTML file that needs nothing else: no network, no script.

Everything that comes from records is escaped.
"""

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from benchmark.report import html as pages
from benchmark.report.document import Block, Heading, kind, pieces
from benchmark.reproduction.curves import LEVELS


def to_html(title: str, blocks: Sequence[Block], svgs: Mapping[str, str]) -> str:
    """The page.

    Args:
        title: of the window.
        blocks: the content.
        svgs: name of a picture → its ``<svg>`` element.
    """
    environment = pages.environment()
    environment.filters.update(
        pieces=pieces, kind=kind, anchor=anchor, prose=prose, unbroken=unbroken
    )
    return environment.get_template("reproduction/page.html.jinja").render(
        title=title,
        blocks=blocks,
        headings=[b for b in blocks if isinstance(b, Heading) and b.level == 2],
        svgs={name: Markup(_fitted(_colored(svg))) for name, svg in svgs.items()},
    )


def anchor(text: str) -> str:
    """A heading's id, from its words."""
    return re.sub(r"[^a-z0-9]+", "-", text.partition(":")[0].lower()).strip("-")


def unbroken(text: str) -> str:
    """Numbers and formulas stay on one line: ``M = 3``, ``1.0 ± 0.2 %``."""
    return re.sub(r" (?=[=±%])|(?<=[=±]) ", "\N{NO-BREAK SPACE}", text)


def prose(markdown: str) -> Markup:
    """The little Markdown that a discussion needs: headings, lists, bold, code; else escaped."""
    shown = []
    for part in re.split(r"\n\s*\n", markdown.strip()):
        lines = [line.strip() for line in part.splitlines()]
        if heading := re.fullmatch(r"#{1,6} +(.*)", lines[0]):
            shown.append(Markup("<h3>{}</h3>").format(_inline(heading[1])))
            lines = lines[1:]
        items = re.split(r"(?m)^[-*] +", "\n".join(lines))
        if items[0].strip():
            shown.append(Markup("<p>{}</p>").format(_inline(items[0].strip())))
        if len(items) > 1:
            listed = [Markup("<li>{}</li>").format(_inline(item.strip())) for item in items[1:]]
            shown.append(Markup("<ul>{}</ul>").format(Markup("").join(listed)))
    return Markup("\n").join(shown)


def _inline(text: str) -> Markup:
    told = str(escape(text.replace("\n", " ")))
    told = re.sub(r"`([^`]+)`", r"<code>\1</code>", told)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", told))


def _fitted(svg: str) -> str:
    """At its own size, 12 points to 1 rem, where the window is wide enough."""
    found = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    assert found
    return svg.replace("<svg", f'<svg style="max-width: {float(found[1]) / 12:.1f}rem"', 1)


def _colored(svg: str) -> str:
    """Shades follow the page's scheme, as the leaderboard's colors do; paths to 0.1 points."""
    for i, color in enumerate(LEVELS):
        svg = svg.replace(color, f"var(--level-{i})")
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)
