"""The leaderboard as one HTML file that needs nothing else: no network, no JavaScript to read it.

Scripts only add sorting and copy buttons. Everything that comes from a record is escaped.
"""

from markupsafe import Markup

from benchmark.leaderboard import curves, words
from benchmark.leaderboard.board import Leaderboard, Section
from benchmark.leaderboard.tradeoff import tradeoff
from benchmark.report import html as pages
from benchmark.report import theme as drawing
from benchmark.results.gates import SUCCESS
from benchmark.results.statistics import Estimate
from benchmark.run.record import Record

MATRICES = (
    ("In-sample backdoor accuracy", "in_sample"),
    ("Held-out backdoor accuracy", "held_out"),
    ("Main accuracy", "main"),
)


def to_html(leaderboard: Leaderboard, records: list[Record]) -> str:
    """The page.

    Args:
        leaderboard: built from ``records``.
        records: for the curves.
    """
    environment = pages.environment()
    environment.filters.update(interval=words.interval, number=words.number, key=_key)
    by_cell = {record.cell: record for record in records}
    with drawing.style():
        figures = [_figures(i, s, by_cell) for i, s in enumerate(leaderboard.sections)]
    return environment.get_template("leaderboard/page.html.jinja").render(
        leaderboard=leaderboard,
        sections=list(zip(leaderboard.sections, figures, strict=True)),
        matrices=MATRICES,
        success=SUCCESS,
        css=drawing.css,
        words=words,
    )


def _figures(
    index: int, section: Section, records: dict[str, Record]
) -> tuple[Markup, list[tuple[str, Markup]]]:
    """The trade-off and, for each defense, its curves; matplotlib escapes the labels in them."""
    panels = [
        (defense, Markup(drawing.svg(curves.panel(section, defense, records), f"c{index}-{i}")))
        for i, defense in enumerate(section.defenses)
    ]
    return Markup(drawing.svg(tradeoff([section]), f"t{index}")), panels


def _key(value: Estimate | float | None) -> str:
    """What a cell is sorted by; empty sorts last in both directions."""
    mean = value.mean if isinstance(value, Estimate) else value
    return "" if mean is None else f"{mean:.6g}"
