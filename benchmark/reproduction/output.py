"""The report of a reproduction: Markdown, HTML and figures, from records alone."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.report import output
from benchmark.report.document import (
    Block,
    Bullets,
    Document,
    Heading,
    Link,
    Mark,
    Paragraph,
    Prose,
    Text,
)
from benchmark.reproduction import figures, readings, sections, threat, verdict_text
from benchmark.reproduction.chapters import ordered
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.profile import HONEST
from benchmark.reproduction.threat import Threat
from benchmark.reproduction.verdict import Verdict
from benchmark.results.gates import FLOOR
from benchmark.results.table import known
from benchmark.utils.errors import UserError, program

TITLE = "Can you really backdoor federated learning? Claim by claim"
PAPER = Link("Sun et al. 2019, arXiv 1911.07963", "https://arxiv.org/abs/1911.07963")
PAPER_ROUNDS = 300
NAME = "reproduction"
"""Of the files, and of the folder of figures beside them."""


def write(evidence: Evidence, folder: Path, discussion: str = "") -> list[Path]:
    """Write ``reproduction.md``, ``reproduction.html`` and ``reproduction/<suite>.png``.

    The same evidence gives the same bytes. Each file is whole or not there.

    Args:
        evidence: what is reported.
        folder: made if it does not exist.
        discussion: Markdown for the end; left out if empty.

    Returns:
        What was written.

    Raises:
        UserError: there is no record, or a claim is none.
    """
    if not evidence.records:
        raise UserError(f"no records to report on; {program()} reproduce PROFILE makes them")
    return output.write(
        document(evidence, discussion), folder, NAME, partial(draw, evidence), picture_folder=NAME
    )


def document(evidence: Evidence, discussion: str = "") -> Document:
    """The report."""
    verdicts, found = evidence.verdicts(), threat.threats(evidence)
    blocks: list[Block] = [Paragraph(("A check of ", PAPER, f". {answer(verdicts)}"))]
    if told := attacker(found):
        blocks.append(Paragraph(told))
    blocks += [Heading(2, "What was run"), *sections.was_run(evidence)]
    blocks += [Heading(2, "Verdicts"), Paragraph(_HOW), sections.verdict_table(verdicts)]
    for suite in ordered(evidence.lines):
        blocks += sections.suite(evidence, suite, verdicts)
    blocks += [*readings.section(verdicts), *threat.section(found)]
    blocks += [Heading(2, "What could not be checked here"), _unchecked(evidence, verdicts)]
    if discussion.strip():
        blocks += [Heading(2, "Discussion"), Prose(discussion)]
    return Document(TITLE, blocks, footer=_FOOTER)


def draw(evidence: Evidence, suite: str) -> Figure:
    """A suite's figure."""
    return (figures.norms if suite == HONEST else figures.accuracies)(evidence, suite)


def answer(verdicts: Sequence[Verdict]) -> str:
    """How many claims hold."""
    count = Counter(verdict.word for verdict in verdicts)

    def are(n: int) -> str:
        return f"{n} {'is' if n == 1 else 'are'}"

    n = count["holds"]
    return (
        f"Of {len(verdicts)} claims, {n} {'holds' if n == 1 else 'hold'}, "
        f"{count['does not hold']} {'does' if count['does not hold'] == 1 else 'do'} not hold, "
        f"{are(count['undecided'])} undecided and {are(count['not decidable'])} not decidable."
    )


def attacker(found: Sequence[Threat]) -> str:
    """What the attacker's best attack takes: undefended, and where the defense asks most of it."""
    best: dict[str, Threat] = {}
    for each in found:
        if each.tried:
            best[each.defense] = min(best.get(each.defense, each), each, key=_asked)
    told = [
        f"For a backdoor accuracy of 50 % without a defense the attacker needs {each.told}."
        for each in best.values()
        if not each.is_defended
    ]
    if defended := [each for each in best.values() if each.is_defended]:
        hardest = max(defended, key=_asked)
        told.append(f"Against {hardest.defense} it takes {hardest.told}.")
    return " ".join(told)


def _asked(each: Threat) -> tuple[bool, float]:
    return each.needed is None, max(each.tried) if each.needed is None else each.needed


def _unchecked(evidence: Evidence, verdicts: Sequence[Verdict]) -> Bullets:
    """What these runs cannot say."""
    items: list[Text] = [
        (*verdict_text.verdict(v.word), f": {v.claim.text.strip()} Why: {v.why}.")
        for v in verdicts
        if v.word == "not decidable"
    ]
    for kind, cells in (("No record", evidence.missing), ("Diverged", evidence.diverged)):
        for cell in cells:
            why = known(evidence.runs.at[cell, "reason"]) or "It was not run"
            items.append((f"{kind}: ", Mark(cell, "code"), f". {why[:1].upper()}{why[1:]}."))
    if evidence.profile != "paper":
        items.append(
            "The data set or the model is not the paper's, whose numbers need not come out here: "
            "what is compared is their order, with norms and noise scaled to this model and to the "
            "number of clients in a round."
        )
    protocols = [record.config["federation"] for record in evidence.records.values()]
    if (longest := max(each["rounds"] for each in protocols)) < PAPER_ROUNDS:
        items.append(f"The federations ran {longest} rounds; the paper's about {PAPER_ROUNDS}.")
    if (every := max(each["evaluate_every"] for each in protocols)) > 1:
        items.append(
            f"Main accuracy was measured every {every} rounds: where an attack comes every f "
            "rounds, that can be at the same distance from an attack each time."
        )
    if all(r.cost.device.lower().startswith("cpu") for r in evidence.records.values()):
        items.append("Nothing here was run on a GPU.")
    items.append(
        "The paper prints no table of numbers, so each claim is checked by its order and not by "
        "its values; some details of its figures are read from its code or from later work."
    )
    return Bullets(items)


_FOOTER = (
    "Written by ",
    Mark("python -m benchmark report", "code"),
    ", from records alone; the same records give the same page.",
)
_HOW = (
    "Accuracies are in percent and differences in percentage points. ± is half the 95 % interval "
    "over seeds (Student's t), and differences are paired by seed. A claim holds if the "
    "whole interval of each difference lies beyond the margin, does not hold if it lies short of "
    "it, and is undecided if it spans it. Where neither side has a backdoor of "
    f"{100 * FLOOR:g} % or of the margin, there is nothing that could differ, and the claim is not "
    "decidable."
)
