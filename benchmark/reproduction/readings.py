"""What a source may mean in several ways, and which of them fits all that it says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.report.document import Block, Heading, Paragraph, Table, Text
from benchmark.reproduction import verdict_text
from benchmark.reproduction.chapters import chapter, ordered
from benchmark.reproduction.verdict import Verdict, Word, weakest


@dataclass(frozen=True)
class Reading:
    """What may be meant, and the verdicts on the claims that read it so."""

    name: str
    verdicts: Sequence[Verdict]

    def has(self, state: str) -> bool:
        """Whether some of its models collapsed, or diverged."""
        return any(verdict.state == state for verdict in self.verdicts)

    @property
    def word(self) -> Word:
        """Whether it fits all claims; what destroys the model does not."""
        if self.has("diverged"):
            return "does not hold"
        return weakest(verdict.word for verdict in self.verdicts)


def readings(verdicts: Sequence[Verdict]) -> list[Reading]:
    """All that the claims have."""
    names = dict.fromkeys(v.claim.reading for v in verdicts if v.claim.reading)
    return [Reading(name, [v for v in verdicts if v.claim.reading == name]) for name in names]


def section(verdicts: Sequence[Verdict]) -> list[Block]:
    """A table for each suite that has readings, and what it comes to."""
    blocks: list[Block] = [Heading(2, "Which reading fits")]
    for suite in ordered({verdict.claim.suite for verdict in verdicts}):
        if found := readings([v for v in verdicts if v.claim.suite == suite]):
            told = f"{chapter(suite).readings} A reading fits if all claims on it hold.".strip()
            blocks += [Paragraph(told), _table(found), Paragraph(_fitting(found))]
    if len(blocks) == 1:
        blocks.append(Paragraph("The runs with readings, or claims on them, are missing."))
    return blocks


def _table(found: Sequence[Reading]) -> Table[Sequence[Text]]:
    """Claims beside each other, each with what it found; above, what all are compared with."""
    claims = [verdict.claim for verdict in found[0].verdicts]
    base = verdict_text.entry(claims[0], claims[0].order[0])
    head, first = ["reading", "here"], [base, ""]
    for at, claim in enumerate(claims):
        metric = verdict_text.METRICS.get(claim.metric, claim.metric)
        head += [metric, f"against {base}", verdict_text.margin(claim)]
        decided = [c for reading in found for c in reading.verdicts[at].comparisons]
        first += [verdict_text.value(decided[0].one, "%") if decided else "", "", ""]
    rows: list[list[Text]] = [[*first, ""]]
    for reading in found:
        claim = reading.verdicts[0].claim
        row: list[Text] = [reading.name, verdict_text.entry(claim, claim.order[-1])]
        for verdict in reading.verdicts:
            shown: list[Text] = [verdict.state, ""]
            for each in verdict.comparisons:
                change = replace(each.effect, mean=-each.effect.mean)
                shown = [verdict_text.value(each.other, "%"), verdict_text.effect(change, "%")]
            row += [*shown, verdict_text.verdict(verdict.word)]
        rows.append([*row, verdict_text.verdict(reading.word)])
    return Table.of([*head, "fits"], rows, words=2)


def _fitting(found: Sequence[Reading]) -> str:
    def names(fit: Sequence[Reading]) -> str:
        return " and ".join(reading.name for reading in fit)

    told = "None of the readings is shown to fit."
    if fitting := [r for r in found if r.word == "holds"]:
        told = f"What fits: {names(fitting)}."
    for word in ("undecided", "not decidable"):
        if some := [r for r in found if r.word == word]:
            told += f" {word.capitalize()}: {names(some)}."
    if collapsed := [r for r in found if r.has("collapsed")]:
        told += f" The model collapses with {names(collapsed)}."
    if diverged := [r for r in found if r.has("diverged")]:
        told += f" The model diverges with {names(diverged)}, which refutes that reading."
    return told
