"""What a report is made of, before it is Markdown or HTML."""

from dataclasses import dataclass
from typing import Literal

from benchmark.reproduction.verdict import Word


@dataclass(frozen=True)
class Mark:
    """Words that stand out: a verdict is bold, and in HTML colored too."""

    text: str
    kind: Literal["strong", "code", "verdict"] = "strong"


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere."""

    text: str
    href: str


Text = str | tuple[str | Mark | Link, ...]
"""One line of words; whatever comes from a record is a plain string in it."""


def verdict(word: Word) -> Text:
    """A verdict's word."""
    return (Mark(word, "verdict"),)


@dataclass(frozen=True)
class Heading:
    """Of a section; ``level`` from 1."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Words; ``warning`` where nobody may miss them."""

    text: Text
    warning: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: list[Text]


@dataclass(frozen=True)
class Facts:
    """Terms and what they are here."""

    items: list[tuple[str, Text]]


@dataclass(frozen=True)
class Code:
    """A command of its own line."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows below a head; the first ``text_columns`` hold words, the others numbers."""

    head: list[str]
    rows: list[list[Text]]
    text_columns: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure, by the name of its file without the ending, and what it shows."""

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Prose:
    """Markdown that somebody wrote."""

    markdown: str


Block = Heading | Paragraph | Bullets | Facts | Code | Table | Picture | Prose


def kind(block: Block) -> str:
    """``"paragraph"`` for a paragraph."""
    return type(block).__name__.lower()


def pieces(text: Text) -> tuple[str | Mark | Link, ...]:
    """A text's parts, also of a plain one."""
    return (text,) if isinstance(text, str) else text
