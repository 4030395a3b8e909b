"""What searches for attackers found against the defenses of a leaderboard."""

from collections.abc import Callable

from benchmark.leaderboard.board import Section
from benchmark.leaderboard.glossary import TUNED
from benchmark.report.document import (
    Block,
    Code,
    Column,
    Details,
    Heading,
    Link,
    Only,
    Paragraph,
    Table,
    Text,
)
from benchmark.report.numbers import NOTHING, interval
from benchmark.results.searches import Tuned, Winner

NOT_TUNED = "not tuned"
NONE_FOUND = "none found that keeps main accuracy"
STALE = "found with other source files than its runs were made with, tune again"


def tuned_attackers(s: int, section: Section) -> list[Block]:
    """A search in a row, or to be opened; ``s`` is the section's number, from 1."""
    return [
        Heading(3, "Tuned attackers", f"tuned-{s}"),
        Paragraph(TUNED),
        Only("page", [_details(s, section, *found) for found in section.tuned]),
        Only("text", [_table(section)]),
    ]


def anchor(s: int, section: Section, defense: str) -> str:
    """Where a page tells of the search against a defense."""
    return f"tuned-{s}-{section.defenses.index(defense)}"


def attacker(tuned: Tuned) -> str:
    """The one that a search found."""
    return NONE_FOUND if tuned.winner is None else tuned.winner.attack


def budget(tuned: Tuned | None) -> str:
    """What a search was given."""
    if tuned is None:
        return NOTHING
    pruned = f" ({tuned.pruned} pruned)" if tuned.pruned else ""
    told = f"{tuned.trials} trials{pruned} of {tuned.seeds} federations, {tuned.sampler}"
    if tuned.searches > 1:
        told += f"; the most of {tuned.searches} searches with {tuned.searched} trials"
    return f"{told}; {STALE}" if tuned.is_stale else told


def _details(s: int, section: Section, defense: str, tuned: Tuned) -> Details:
    blocks: list[Block] = [
        Paragraph((f"{budget(tuned)}; study ", Link(tuned.study, tuned.report))),
    ]
    if found := tuned.winner:
        beside = "No fixed attack keeps main accuracy on the same."
        if found.fixed:
            beside = (
                f"The strongest fixed attack on the same, {found.fixed_attack}: "
                f"{interval(found.fixed)} %, so tuning gained {interval(found.gain, True)} points."
            )
        seeds = ", ".join(map(str, tuned.fresh_seeds))
        lost = interval(found.cost, signed=True)
        told = (
            f"In-sample {interval(found.in_sample)} % on seeds {seeds}, main accuracy lost {lost}"
        )
        blocks += [Paragraph(f"{told} points. {beside}"), Code(found.command)]
    return Details(f"{defense}: {attacker(tuned)}", blocks, anchor(s, section, defense))


def _table(section: Section) -> Table[tuple[str, Tuned]]:
    def won(get: Callable[[Winner], Text]) -> Callable[[tuple[str, Tuned]], Text]:
        return lambda row: get(row[1].winner) if row[1].winner else NOTHING

    def beside(winner: Winner) -> Text:
        return f"{winner.fixed_attack}: {interval(winner.fixed)}" if winner.fixed else NOTHING

    columns: list[Column[tuple[str, Tuned]]] = [
        Column("Defense", lambda row: row[0], is_number=False),
        Column("Study", lambda row: row[1].report, is_number=False),
        Column("Attacker", lambda row: attacker(row[1]), is_number=False),
        Column("In-sample", won(lambda w: interval(w.in_sample)), "%"),
        Column("Strongest fixed attack", won(beside), "same seeds and users, %", is_number=False),
        Column("Gain", won(lambda w: interval(w.gain, signed=True)), "points"),
        Column("Main accuracy lost", won(lambda w: interval(w.cost, signed=True)), "points"),
        Column("Command", won(lambda w: w.command), is_number=False),
    ]
    return Table(columns, section.tuned)
