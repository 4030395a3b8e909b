"""What a report is made of, before a renderer shows it in a terminal, as Markdown or as HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Mark:
    """Words that stand out.

    Attributes:
        text: the words.
        kind: ``strong``; ``code``; ``verdict``, bold and colored by its words; ``hot``, an
            alarming number; ``gap``, something that is missing or was not done; ``quiet``, what a
            hurried reader may skip.
    """

    text: str
    kind: Literal["strong", "code", "verdict", "hot", "gap", "quiet"] = "strong"


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere: to an address, or to ``#anchor`` of the same document."""

    text: str
    href: str


Text = str | tuple[str | Mark | Link, ...]
"""One line of words; whatever comes from a record is a plain string in it."""


@dataclass(frozen=True)
class Heading:
    """Of a section; ``level`` from 1, ``anchor`` where others link to it by that name."""

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
        key: what a reader sorts by; None last, whichever way. Without one, text is sorted by.
        note: a second line, quieter; left out where room is short.
        share: in [0, 1]; the place is tinted by it.
    """

    text: Text
    key: float | str | None = None
    note: Text = ""
    share: float | None = None


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
    """

    head: str
    content: Callable[[Row], Entry | Text]
    unit: str = ""
    is_number: bool = True
    descending: bool = False
    room: int = 0

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
        is_quiet: whether a row does not count, such as one without a rank.
        is_sortable: whether readers may want another order.
    """

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    title: str = ""
    is_quiet: Callable[[Row], bool] = lambda row: False
    is_sortable: bool = False

    @staticmethod
    def of(head: Sequence[str], rows: Sequence[Sequence[Text]], words: int = 1) -> "Table[Any]":
        """Rows of texts; the first ``words`` columns hold words, the others numbers."""

        def column(i: int) -> Column[Sequence[Text]]:
            return Column(head[i], lambda row: row[i], is_number=i >= words)

        return Table([column(i) for i in range(len(head))], rows)


@dataclass(frozen=True)
class Picture:
    """A figure, by the name of its file without the ending, and what it shows."""

    name: str
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Panels:
    """Small figures beside each other, with one legend: label → index of its color.

    A page shows each; where there is room for one file alone it is the picture ``sheet``.
    """

    pictures: Sequence[Picture]
    legend: Sequence[tuple[str, int]]
    sheet: Picture


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand, or after their summary where nothing can be opened."""

    summary: Text
    blocks: "Sequence[Block]"
    anchor: str = ""


@dataclass(frozen=True)
class Prose:
    """Markdown that somebody wrote."""

    markdown: str


Block = (
    Heading | Paragraph | Bullets | Facts | Code | Table[Any] | Picture | Panels | Details | Prose
)


def kind(block: Block) -> str:
    """``"paragraph"`` for a paragraph."""
    return type(block).__name__.lower()


def pieces(text: Text) -> tuple[str | Mark | Link, ...]:
    """A text's parts, also of a plain one."""
    return (text,) if isinstance(text, str) else text
