"""The report of a reproduction: Markdown, HTML and figures, from records alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.report import theme as drawing
from benchmark.report.document import Block, Document, Heading, Link, Paragraph, Picture, Prose
from benchmark.report.markdown import to_markdown
from benchmark.reproduction import figures, naming, provenance, sections, tables
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.page import to_html
from benchmark.reproduction.threat import Threat, threats
from benchmark.reproduction.verdict import Verdict
from benchmark.utils.errors import UserError
from benchmark.utils.files import atomic_file

TITLE = "Can you really backdoor federated learning? Claim by claim"
PAPER = Link("Sun et al. 2019, arXiv 1911.07963", "https://arxiv.org/abs/1911.07963")
UNDEFENDED = "no defense"
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
    content = blocks(evidence, discussion)
    pictures = [block.name for block in content if isinstance(block, Picture)]
    paths = []
    with drawing.style():
        drawn = {name: draw(evidence, name) for name in pictures}
        svgs = {name: drawing.svg(figure, name) for name, figure in drawn.items()}
        for name in pictures:
            paths.append(folder / NAME / f"{name}.png")
            with atomic_file(paths[-1]) as temporary:
                drawing.png(drawn[name], temporary)
    texts = {
        f"{NAME}.md": to_markdown(Document(TITLE, content[1:]), NAME),
        f"{NAME}.html": to_html(TITLE, content, svgs),
    }
    for file, text in texts.items():
        paths.append(folder / file)
        with atomic_file(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def blocks(evidence: Evidence, discussion: str = "") -> list[Block]:
    """The report's content."""
    verdicts = evidence.verdicts()
    found: list[Block] = [Heading(1, TITLE)]
    found.append(Paragraph(("A check of ", PAPER, f". {answer(verdicts)}")))
    if told := attacker(threats(evidence)):
        found.append(Paragraph(told))
    found += [Heading(2, "What was run"), *provenance.was_run(evidence)]
    found += [Heading(2, "Verdicts"), Paragraph(_HOW), sections.verdict_table(verdicts)]
    for suite in naming.ordered(evidence.lines):
        found += sections.suite(evidence, suite, verdicts)
    found += [Heading(2, "Which noise reading fits"), *sections.noise_section(evidence, verdicts)]
    found += [Heading(2, "What would it take"), *sections.threat_section(evidence)]
    found += [Heading(2, "What could not be checked here"), *sections.unchecked(evidence, verdicts)]
    if discussion.strip():
        found += [Heading(2, "Discussion"), Prose(discussion)]
    return found


def draw(evidence: Evidence, suite: str) -> Figure:
    """A suite's figure."""
    return (figures.norms if suite == tables.NORMS else figures.accuracies)(evidence, suite)


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
        known = best.get(threat.defense)
        if threat.tried and (known is None or _asked(threat) < _asked(known)):
            best[threat.defense] = threat
    told = ""
    if undefended := best.pop(UNDEFENDED, None):
        told = (
            "For a backdoor accuracy of 50 % without a defense the attacker needs "
            f"{undefended.told}."
        )
    if best:
        hardest = max(best.values(), key=_asked)
        told += f" Against {hardest.defense} it takes {hardest.told}."
    return told.strip()


def _asked(threat: Threat) -> tuple[bool, float]:
    needed = threat.needed
    return needed is None, max(threat.tried) if needed is None else needed


_HOW = (
    "Accuracies are in percent and differences in percentage points. ± is half the 95 % interval "
    "over seeds (Student's t), and differences are paired by seed. A claim holds if the "
    "whole interval of each difference lies beyond the margin, does not hold if it lies short of "
    "it, and is undecided if it spans it."
)
