"""What searches for attackers found against the defenses of a leaderboard."""

from benchmark.leaderboard.board import Section
from benchmark.leaderboard.glossary import TUNED
from benchmark.report.document import Block, Code, Details, Heading, Link, Paragraph
from benchmark.report.numbers import NOTHING, interval
from benchmark.results.gates import TOLERANCE, gate
from benchmark.results.searches import Tuned

NONE_FOUND = "none found that keeps main accuracy"
STALE = "found with other source files than its runs were made with, tune again"


def tuned_attackers(s: int, section: Section) -> list[Block]:
    """The search against each defense, to be opened; ``s`` is the section's number, from 1."""
    found = [_details(s, section, *each) for each in section.tuned]
    return [Heading(3, "Tuned attackers", f"tuned-{s}"), Paragraph(TUNED), *found]


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
        unsure = gate(found.cost, TOLERANCE) == "at the gate"
        limit = f" (at the limit of {100 * TOLERANCE:g}: other seeds may decide otherwise)"
        told = (
            f"In-sample {interval(found.in_sample)} % on seeds {seeds}, main accuracy lost "
            f"{interval(found.cost, signed=True)} points{limit * unsure}. {beside}"
        )
        blocks += [Paragraph(told), Code(found.command)]
    return Details(f"{defense}: {attacker(tuned)}", blocks, anchor(s, section, defense))
