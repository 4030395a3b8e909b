"""The report of a reproduction: Markdown, HTML and figures, from records alone."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.report import output
from benchmark.report.document import Block, Document, Heading, Link, Mark, Paragraph, Prose
from benchmark.reproduction import figures, provenance, sections
from benchmark.reproduction.chapters import ordered
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.profile import HONEST
from benchmark.reproduction.threat import Threat, threats
from benchmark.reproduction.verdict import Verdict
from benchmark.utils.errors import UserError

TITLE = "Can you really backdoor federated learning? Claim by claim"
PAPER = Link("Sun et al. 2019, arXiv 1911.07963", "https://arxiv.org/abs/1911.07963")
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
        raise UserError("no records to report on; python -m benchmark reproduce PROFILE makes them")
    return output.write(
        document(evidence, discussion), folder, NAME, partial(draw, evidence), picture_folder=NAME
    )


def document(evidence: Evidence, discussion: str = "") -> Document:
    """The report."""
    verdicts = evidence.verdicts()
    found: list[Block] = [Paragraph(("A check of ", PAPER, f". {answer(verdicts)}"))]
    if told := attacker(threats(evidence)):
        found.append(Paragraph(told))
    found += [Heading(2, "What was run"), *provenance.was_run(evidence)]
    found += [Heading(2, "Verdicts"), Paragraph(_HOW), sections.verdict_table(verdicts)]
    for suite in ordered(evidence.lines):
        found += sections.suite(evidence, suite, verdicts)
    found += [Heading(2, "Which noise reading fits"), *sections.noise_section(evidence, verdicts)]
    found += [Heading(2, "What would it take"), *sections.threat_section(evidence)]
    found += [Heading(2, "What could not be checked here"), *sections.unchecked(evidence, verdicts)]
    if discussion.strip():
        found += [Heading(2, "Discussion"), Prose(discussion)]
    return Document(TITLE, found, footer=_FOOTER)


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
    for threat in found:
        if threat.tried:
            best[threat.defense] = min(best.get(threat.defense, threat), threat, key=_asked)
    told = [
        f"For a backdoor accuracy of 50 % without a defense the attacker needs {threat.told}."
        for threat in best.values()
        if not threat.is_defended
    ]
    if defended := [threat for threat in best.values() if threat.is_defended]:
        hardest = max(defended, key=_asked)
        told.append(f"Against {hardest.defense} it takes {hardest.told}.")
    return " ".join(told)


def _asked(threat: Threat) -> tuple[bool, float]:
    needed = threat.needed
    return needed is None, max(threat.tried) if needed is None else needed


_FOOTER = (
    "Written by ",
    Mark("python -m benchmark report", "code"),
    ", from records alone; the same records give the same page.",
)
_HOW = (
    "Accuracies are in percent and differences in percentage points. ± is half the 95 % interval "
    "over seeds (Student's t), and differences are paired by seed. A claim holds if the "
    "whole interval of each difference lies beyond the margin, does not hold if it lies short of "
    "it, and is undecided if it spans it."
)
