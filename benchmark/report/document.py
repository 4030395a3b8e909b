"""What a report is made of, before a renderer shows it in a terminal, as Markdown or as HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

Row = TypeVar("Row")

Kind = Literal["strong", "code", "verdict", "hot", "gap", "quiet", "plain"]
"""How words stand out: ``verdict``, bold and colored by its words; ``hot``, an alarming number;
``gap``, something that is missing or was not done; ``quiet``, what a hurried reader may skip."""

Medium = Literal["page", "text"]
"""Where it is read: on a page, or in a terminal or as Markdown, where nothing can be opened."""


@dataclass(frozen=True)
class Mark:
    """Words that stand out."""

    text: str
    kind: Kind = "strong"


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere: to an address, or to ``#anchor`` of the same page."""

    text: str
    href: str
    kind: Kind = "plain"

    @property
    def address(self) -> str:
        """``href``, whatever characters it has."""
        return quote(self.href, safe="/:#?=&%@+,;~")


Text = str | tuple[str | Mark | Link, ...]
"""One line of words; whatever comes from a record is a plain string in it."""


@dataclass(frozen=True)
class Heading:
    """Of a section.

    Attributes:
        level: from 2; the document's title is 1.
        text: of it.
        anchor: unique in the document; made of the text up to a colon if it is empty.
    """

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Words; ``warning`` where nobody may miss them."""

    text: Text
    warning: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Text]


@dataclass(frozen=True)
class Facts:
    """Terms and what they are here."""

    items: Sequence[tuple[str, Text]]


@dataclass(frozen=True)
class Code:
    """A command of its own line."""

    text: str


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: the words or the number.
        key: what a reader sorts by. Without one, words are sorted by themselves, and numbers
            come last, whichever way.
        note: a second line, quieter, or in parentheses; left out where room is short.
        share: in [0, 1]; the place is tinted by it.
        more: lines that a page shows on demand.
    """

    text: Text
    key: float | str | None = None
    note: Text = ""
    share: float | None = None
    more: Sequence[Text] = ()


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table, declared once for all renderers.

    Attributes:
        head: its name.
        content: of a row, an :class:`Entry`, or its text.
        unit: of the numbers, such as ``%`` or ``points``.
        is_number: numbers stand to the right and do not wrap.
        descending: whether the largest come first where a reader sorts by it.
        room: characters that a terminal must have for it to be shown there.
        only: the medium that shows it; None for both.
    """

    head: str
    content: Callable[[Row], Entry | Text]
    unit: str = ""
    is_number: bool = True
    descending: bool = False
    room: int = 0
    only: Medium | None = None

    def entry(self, row: Row) -> Entry:
        """What stands in it for a row."""
        content = self.content(row)
        return content if isinstance(content, Entry) else Entry(content)


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows under columns; the first column names the row.

    Attributes:
        columns, rows: of it.
        title: names it where no heading stands above.
        rank: of a row, from 1; None for one that has none. Stands beside its name.
        status: what must be said of a row; stands below its name, below the table, or in a last
            column.
        is_quiet: whether a row does not count, such as one without a rank.
        is_sortable: whether readers may want another order.
    """

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    title: str = ""
    rank: Callable[[Row], int | None] | None = None
    status: Callable[[Row], Text] | None = None
    is_quiet: Callable[[Row], bool] = lambda row: False
    is_sortable: bool = False

    def shown(self, medium: Medium) -> list[Column[Row]]:
        """The columns of a medium."""
        return [column for column in self.columns if column.only in (None, medium)]

    @staticmethod
    def of(head: Sequence[str], rows: Sequence[Sequence[Text]], words: int = 1) -> "Table[Any]":
        """Rows of texts; the first ``words`` columns hold words, the others numbers."""

        def column(i: int) -> Column[Sequence[Text]]:
            return Column(head[i], lambda row: row[i], is_number=i >= words)

        return Table([column(i) for i in range(len(head))], rows)


@dataclass(frozen=True)
class Picture:
    """A figure, by its name (that of its file without the ending), and what it shows."""

    name: str
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Panels:
    """Small figures beside each other, with one legend: label → index in the theme's series."""

    pictures: Sequence[Picture]
    legend: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand, or after their summary where nothing can be opened."""

    summary: Text
    blocks: "Sequence[Block]"
    anchor: str = ""


@dataclass(frozen=True)
class Prose:
    """Markdown that somebody wrote; HTML in it is shown as text."""

    markdown: str


@dataclass(frozen=True)
class Only:
    """Blocks that one medium alone shows."""

    medium: Medium
    blocks: "Sequence[Block]"


Leaf = Heading | Paragraph | Bullets | Facts | Code | Table[Any] | Picture | Panels | Prose
Block = Leaf | Details | Only


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: of it.
        blocks: its content.
        lead: what it is about, below the title.
        footer: what made it; on pages alone.
    """

    title: str
    blocks: Sequence[Block]
    lead: Text = ""
    footer: Text = ""


def pieces(text: Text) -> tuple[str | Mark | Link, ...]:
    """A text's parts, also of a plain one."""
    return (text,) if isinstance(text, str) else text


def plain(text: Text) -> str:
    """A text's words alone."""
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces(text))
