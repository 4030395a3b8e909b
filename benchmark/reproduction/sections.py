"""The parts of a report: verdicts, one section for each suite, and what follows from all."""

from collections.abc import Sequence

from benchmark.report.document import (
    Block,
    Bullets,
    Heading,
    Mark,
    Paragraph,
    Picture,
    Table,
    Text,
)
from benchmark.report.numbers import interval, short
from benchmark.reproduction import figures, lines, noise, provenance, tables, verdict_text
from benchmark.reproduction.chapters import chapter, ordered
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.reproduction.profile import HONEST
from benchmark.reproduction.scores import Score, score
from benchmark.reproduction.threat import threats
from benchmark.reproduction.verdict import Verdict
from benchmark.results.gates import COLLAPSE, SUCCESS
from benchmark.run.record import Record

PAPER_ROUNDS = 300


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One row a claim, in the order of the figures."""
    rows: list[list[Text]] = []
    for suite in ordered({v.claim.suite for v in verdicts}):
        for each in (v for v in verdicts if v.claim.suite == suite):
            claim = each.claim
            rows.append(
                [
                    chapter(suite).title,
                    claim.text.strip(),
                    verdict_text.verdict(each.word),
                    verdict_text.found(each),
                    verdict_text.margin(claim),
                    verdict_text.measure(claim),
                    claim.source,
                ]
            )
    head = ["part", "claim", "verdict", "found", "margin", "measured", "source"]
    return Table.of(head, rows, words=len(head))


def suite(evidence: Evidence, name: str, verdicts: Sequence[Verdict]) -> list[Block]:
    """What was run, the verdicts on it, the figure and its numbers."""
    own, part = [v for v in verdicts if v.claim.suite == name], chapter(name)
    heading = f"{part.title}: {part.about}" if part.about else part.title
    blocks: list[Block] = [Heading(2, heading)]
    told = _sentence(evidence.descriptions.get(name, ""))
    if any("M = " in line.name for line in lines.labeled(evidence, name)) and evidence.unit != 1:
        told += f" {provenance.bounds(evidence)}."
    blocks.append(Paragraph(told))
    if own:
        blocks.append(
            Bullets([(*verdict_text.verdict(v.word), f": {v.claim.text.strip()}") for v in own])
        )
    if any(evidence.of(line) for line in evidence.lines[name]):
        blocks.append(Picture(name, part.title, _caption(evidence, name)))
    blocks.append(tables.scores(evidence, name))
    if name == HONEST:
        blocks += tables.norm_numbers(evidence)
    return blocks


def noise_section(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[Block]:
    """Which reading of the paper's noise fits its text."""
    alone, found = noise.clipping(evidence), noise.readings(evidence, verdicts)
    if alone is None or not found:
        return [Paragraph("The runs with noise, or claims on them, are missing.")]
    base = score(evidence, alone)
    name = next(x.name for x in lines.labeled(evidence, noise.SUITE) if x.line is alone)
    rows: list[list[Text]] = [[name, "", interval(base.main), "", _backdoor(base), "", "", ""]]
    for each in found:
        rows.append(
            [
                each.name,
                short(each.std),
                interval(each.score.main),
                interval(each.main, signed=True) if each.main else "",
                _backdoor(each.score),
                verdict_text.verdict(each.costs.word),
                verdict_text.verdict(each.mitigates.word),
                verdict_text.verdict(each.word),
            ]
        )
    head = [
        "reading",
        f"{provenance.SIGMA} here",
        "main, %",
        "against clipping, points",
        "in-sample, %",
    ]
    head += ["main hardly hurt", "mitigates further", "fits both"]
    return [
        Paragraph(
            "The paper adds noise of 0.025 and says that it mitigates the attack further while the "
            f"main task is hardly hurt. Four readings of that number, under the norm-bounded "
            f"attack; a reading fits if main accuracy stays within "
            f"{100 * found[0].costs.claim.margin:g} points of clipping alone and in-sample "
            f"backdoor accuracy falls by more than {100 * found[0].mitigates.claim.margin:g}."
        ),
        Table.of(head, rows),
        Paragraph(_fitting(found)),
    ]


def threat_section(evidence: Evidence) -> list[Block]:
    """How many adversaries it takes."""
    found = threats(evidence)
    if not found:
        return [Paragraph("No runs to tell it from.")]
    rows: list[list[Text]] = [
        [each.defense, each.attack, each.participation, each.told] for each in found
    ]
    head = ["defense", "attack", "participation", "adversaries needed"]
    return [
        Paragraph(
            "The smallest share of compromised users tried with which mean in-sample backdoor "
            f"accuracy over the last fifth of the rounds reaches {100 * SUCCESS:g} %. One "
            "compromised client every f rounds stands for a share of 1/(f·K) with K clients a "
            'round. "At most": no smaller share was tried; "more than": the largest tried does '
            "not reach it."
        ),
        Table.of(head, rows, words=4),
    ]


def unchecked(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[Block]:
    """What these runs cannot say."""
    items: list[Text] = [
        (*verdict_text.verdict(v.word), f": {v.claim.text.strip()} Why: {v.why}.")
        for v in verdicts
        if v.word == "not decidable"
    ]
    items += [
        ("No record: ", Mark(cell, "code"), f". {_why(evidence, cell)}.")
        for cell in evidence.missing
    ]
    if evidence.profile != "paper":
        items.append(
            "The data set or the model is not the paper's, whose numbers need not come out here: "
            "what is compared is their order, with norms and noise scaled to this model."
        )
    longest = max(provenance.rounds(evidence))
    if longest < PAPER_ROUNDS:
        items.append(f"The federations ran {longest} rounds; the paper's about {PAPER_ROUNDS}.")
    if (every := max(_evaluated(r) for r in evidence.records.values())) > 1:
        items.append(
            f"Main accuracy was measured every {every} rounds: where an attack comes every f "
            "rounds, that can be at the same distance from an attack each time."
        )
    if not any(_on_gpu(record) for record in evidence.records.values()):
        items.append("Nothing here was run on a GPU.")
    items.append(
        "The paper prints no table of numbers, so each claim is checked by its order and not by "
        "its values; some details of its figures are read from its code or from later work."
    )
    return [Bullets(items)]


def _caption(evidence: Evidence, name: str) -> str:
    if name == HONEST:
        return f"Norms of honest updates, by round and over all rounds and seeds. {figures.BAND}"
    told = (
        "Main accuracy, in-sample backdoor accuracy and its mean over the rounds so far. "
        f"{figures.BAND} Dotted: main accuracy without attack and defense."
    )
    if figures.intermittent(evidence, lines.labeled(evidence, name)):
        told += " Each line's in-sample backdoor accuracy has a panel of its own, in their order."
    if any(tables.windowed(evidence.of(line)) for line in evidence.lines[name]):
        told += " Shaded: the rounds with an attack."
    if any(_collapsed(evidence, line) for line in evidence.lines[name]):
        told += (
            f" Models with less than {100 * COLLAPSE:g} % of that have collapsed, and their "
            "backdoor accuracy is not shown."
        )
    return told


def _collapsed(evidence: Evidence, line: Line) -> bool:
    return score(evidence, line).withheld.startswith("collapsed")


def _fitting(found: Sequence[noise.Reading]) -> str:
    by_word = {w: [r.name for r in found if r.word == w] for w in ("holds", "undecided")}
    collapsed = [r.name for r in found if r.score.withheld.startswith("collapsed")]
    if fitting := by_word["holds"]:
        told = f"What fits: {' and '.join(fitting)}."
    else:
        told = "None of the readings is shown to fit."
    if by_word["undecided"]:
        told += f" Undecided: {' and '.join(by_word['undecided'])}."
    if collapsed:
        told += f" The model collapses with {' and '.join(collapsed)}."
    if diverged := [r.name for r in found if r.diverged]:
        told += f" The model diverges with {' and '.join(diverged)}, which refutes that reading."
    return told


def _why(evidence: Evidence, cell: str) -> str:
    failure = evidence.failures.get(cell)
    return failure.reason if failure else "It was not run"


def _sentence(text: str) -> str:
    text = text.strip().removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _backdoor(scored: Score) -> str:
    return scored.withheld or interval(scored.in_sample)


def _evaluated(record: Record) -> int:
    return int(record.config["federation"]["evaluate_every"])


def _on_gpu(record: Record) -> bool:
    return not record.cost.device.lower().startswith("cpu")
