"""One document of all blocks, as Markdown, as a page and in a terminal."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from benchmark.report import theme
from benchmark.report.document import (
    Bullets,
    Code,
    Column,
    Details,
    Document,
    Entry,
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
)
from benchmark.report.html import to_html
from benchmark.report.markdown import to_markdown
from benchmark.report.media import pictures
from benchmark.report.numbers import NOTHING
from benchmark.report.output import write
from benchmark.report.terminal import to_terminal

HOSTILE = r'</pre>--><script>alert("1")</script><b>$x$ | `y`'

ROWS = [("clip", 0.25, 1), ("reject", 0.5, 2), ("noise", None, None)]
COLUMNS = [
    Column("Defense", lambda row: Entry(row[0], note="bound=1"), is_number=False),
    Column(
        "Backdoor in-sample",
        lambda row: Entry(
            (Link(f"{row[1]}", "#run-1", "hot"),), key=row[1], note="final", share=row[1]
        ),
        unit="worst case, %",
    ),
    Column("Time", lambda row: "3", room=100, descending=True),
    Column("Runs", lambda row: Entry("2 runs", 2, more=["one", "two"]), only="page"),
    Column("Budget", lambda row: "9 trials", only="text"),
]
TABLE = Table(
    COLUMNS,
    ROWS,
    title="A table",
    rank=lambda row: row[2],
    status=lambda row: () if row[2] else (Mark("collapsed"), ": why"),
    is_quiet=lambda row: row[2] is None,
    is_sortable=True,
)


def figure(name):
    if name == "png":
        return b"\x89PNG..."
    drawn = Figure(figsize=(3, 2))
    drawn.add_subplot().plot([0, 1], [0, 1], color=theme.LEVELS[0])
    return drawn


def document(told="told"):
    return Document(
        "A title",
        [
            Heading(2, "First: what was run"),
            Paragraph((Mark("Beware."), f" {told}"), warning=True),
            Facts([("Seeds", "3"), ("Setting", "x " * 80)]),
            Bullets([(Mark("holds", "verdict"), f": {told}"), ("see ", Link(told, "a b.html"))]),
            TABLE,
            Heading(2, "Second", "second"),
            Only("page", [Panels([Picture("left", told)], [("none", 0), ("boosted", 1)])]),
            Only("text", [Picture("sheet", "all of them")]),
            Picture("png", "one", f"caption {told}"),
            Details((told, Mark(" 2 runs", "quiet")), [Code(f"run {told}")], "run-1"),
            Prose("# Head\n\nSome **bold** <script>\n\n```sh\nrun <it>\n```\n"),
        ],
        lead=f"About {told}",
        footer=("Written by ", Mark("us", "code")),
    )


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.attributes = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.attributes.append(found)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []


def terminal(blocks, width):
    text = io.StringIO()
    Console(file=text, width=width).print(to_terminal(blocks))
    return text.getvalue()


def test_markdown():
    text = to_markdown(document(), "figures")
    assert text.startswith("# A title\n\nAbout told\n\n## First: what was run\n\n> **Note:** **Bew")
    assert "- **Seeds**: 3" in text
    assert "- **holds**: told\n- see [told](a%20b.html)" in text
    assert "| # | Defense | Backdoor in-sample (worst case, %) | Time | Budget | status |" in text
    assert "| ---: | --- | ---: | ---: | ---: | --- |" in text
    assert "| 1 | clip (bound=1) | 0.25 (final) | 3 | 9 trials |  |" in text
    assert (
        f"| {NOTHING} | noise (bound=1) | None (final) | 3 | 9 trials | **collapsed**: why |"
        in text
    )
    assert "![all of them](figures/sheet.png)\n\n![one](figures/png.png)\n\n*caption told*" in text
    assert "left" not in text
    assert "**told 2 runs**\n\n```\nrun told\n```" in text


def test_page():
    text = to_html(document(), figure)
    page = _Page(text)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    named = [i for i in page.ids if not re.fullmatch(r"p[0-9a-f]{10}", i)]  # a figure's own
    assert named == ["main", "first", "second", "run-1"]
    assert re.findall(r'<li><a href="#(\w+)">(\w+)</a>', text) == [
        ("first", "First"),
        ("second", "Second"),
    ]
    assert page.tags.count("svg") == page.tags.count("img") == 1
    assert "var(--level-0)" in text
    assert 'src="data:image/png;base64,iVBORy4uLg=="' in text
    assert text.count('<div class="command"><pre>') == 2
    assert "<h3>Head</h3>" in text
    assert "9 trials" not in text
    heads = [a["data-first"] for a in page.attributes if "data-first" in a]
    assert heads == ["ascending", "ascending", "descending", "ascending"]
    keys = [a["data-key"] for a in page.attributes if "data-key" in a]
    assert keys == ["1", "0.25", "", "2", "2", "0.5", "", "2", "3", "", "", "2"]
    assert text.count('class="off"') == 1
    assert '<span class="status"><strong>collapsed</strong>: why</span>' in text


def test_only_the_pages_own_script_may_run():
    text = to_html(document(), figure)
    (script,) = re.findall(r"<script>(.*)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in text
    still = to_html(Document("Still", [Paragraph("words")]), figure)
    assert "<script" not in still
    assert "script-src" not in still


def test_hostile_words_stay_words():
    tame, wild = (_Page(to_html(document(word), figure)) for word in ("tame", HOSTILE))
    assert wild.tags == tame.tags
    assert wild.tags.count("script") == 1
    told = [Paragraph(HOSTILE), Table.of([HOSTILE], [[HOSTILE]])]
    assert "<script" not in to_markdown(Document(HOSTILE, told))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("norm_clip (a_b=1)", "norm_clip (a_b=1)"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
        ("a|b\n[c] <d> & ~e $f", r"a\|b \[c\] &lt;d&gt; &amp; \~e \$f"),
    ],
)
def test_markdown_shows_text_as_it_is(text, expected):
    assert to_markdown(Document("t", [Paragraph(text)])) == f"# t\n\n{expected}\n"


def test_a_terminal_drops_columns_that_it_has_no_room_for():
    narrow, wide = (terminal([TABLE, Only("page", [Heading(2, "no")])], w) for w in (60, 100))
    assert "Time" in wide
    assert "Time" not in narrow
    for text in (narrow, wide):
        assert re.search(r" 1 +clip +0.25 ", text)
        assert "collapsed: why" in text
        assert "2 runs" not in text
        assert "bound=1" in text
        assert "final" not in text


def test_written_files(tmp_path):
    drawn = []

    def draw(name):
        drawn.append(name)
        return figure(name)

    paths = write(document(), tmp_path, "report", draw, "figures")
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "figures/sheet.png",
        "figures/png.png",
        "report.md",
        "report.html",
    ]
    assert sorted(drawn) == ["left", "png", "sheet"]
    assert (tmp_path / "figures/png.png").read_bytes() == figure("png")
    assert [p.name for p in pictures(document().blocks, "page")] == ["left", "png"]
