"""A leaderboard as a document."""

from benchmark.leaderboard import glossary, tables
from benchmark.leaderboard.board import Leaderboard, Section
from benchmark.leaderboard.runs import run_details
from benchmark.leaderboard.tuned import attacker, tuned_attackers
from benchmark.leaderboard.untargeted import untargeted
from benchmark.report import document as doc
from benchmark.results.gates import GATE, SUCCESS

LEAD = (
    "Every attack against every defense. A defense is as good as its worst case, provided that the "
    "model still does its job."
)
TRADEOFF = (
    "A point for each attack on each defense, with 95 % intervals over seeds where there are "
    "several. Up and to the left is better; the tinted corner is where the mean loss of main "
    f"accuracy is within the gate, and below {100 * SUCCESS:.0f} % backdoor accuracy. Triangles on "
    "the lower edge are models that fell further than the axis reaches."
)
CURVES = (
    "Mean over seeds by round; the band spans the seeds. Thin lines are the cumulative mean of the "
    "backdoor accuracy, the dotted line is the accuracy gate."
)
MATRICES = {
    "in_sample": "In-sample backdoor accuracy",
    "held_out": "Held-out backdoor accuracy",
    "main": "Main accuracy",
}
"""Score of a cell → its name."""


def document(board: Leaderboard) -> doc.Document:
    """All that is known, for a page and for a repository."""
    blocks = [b for s, section in enumerate(board.sections, start=1) for b in _section(s, section)]
    trade_off = doc.Picture("tradeoff", "Trade-off", TRADEOFF)
    whole = doc.Picture("curves", "Curves", CURVES)
    if is_backdoored := any(section.is_backdoored for section in board.sections):
        blocks.append(doc.Only("text", [doc.Heading(2, "Figures"), trade_off, whole]))
    return doc.Document(
        title=f"Federated backdoor leaderboard: {board.name}",
        blocks=blocks,
        lead=LEAD if is_backdoored else glossary.UNTARGETED,
        footer=(
            "Written by ",
            doc.Mark(f"python -m benchmark leaderboard {board.name}", "code"),
            ", from records alone; the same records give the same page. Accuracies in percent, "
            "differences in percentage points.",
        ),
    )


def summary(board: Leaderboard) -> list[doc.Block]:
    """Both tables of every section and what they mean, for a terminal."""
    blocks: list[doc.Block] = []
    for s, section in enumerate(board.sections, start=1):
        title = section.setting.label or section.setting.name or board.name
        lowest = f"{title}: defenses, lowest worst-case backdoor accuracy first"
        highest = f"{title}: attacks, highest mean lift first"
        if section.is_backdoored:
            blocks += [doc.Paragraph(""), tables.defenses(s, section, lowest)]
            blocks.append(tables.attacks(s, section, highest))
        if section.untargeted:
            left = f"{title}: main accuracy under untargeted attacks, most in the worst case first"
            blocks += [doc.Paragraph(""), untargeted(s, section, left)]
        told = [glossary.TUNED, glossary.TUNED_ORDER] if section.tuned else []
        for defense, found in section.tuned:
            run = f"; run it: {found.winner.command}" if found.winner else ""
            told.append(f"Tuned against {defense}: {attacker(found)}{run}")
        told += [glossary.UNTARGETED] if section.untargeted else []
        told += [
            glossary.missing(section),
            glossary.gate(section) if section.is_backdoored else "",
            f"{glossary.WINDOW} {glossary.seeds(section)}",
            glossary.users(section),
            *section.notes,
        ]
        blocks += [doc.Paragraph((doc.Mark(each, "quiet"),)) for each in told if each]
    return blocks


def _section(s: int, section: Section) -> list[doc.Block]:
    title = section.setting.label or section.setting.name or "Results"
    blocks: list[doc.Block] = [doc.Heading(2, title, f"setting-{s}")]
    if missing := glossary.missing(section):
        told = " Defenses and attacks that lack runs are listed without a rank."
        blocks.append(doc.Paragraph((doc.Mark(missing), told), warning=True))
    groups = "; ".join(f"{group}: {chosen}" for group, chosen in section.setting.groups.items())
    made = "; ".join(f"{fact}: {', '.join(met)}" for fact, met in section.environment.items())
    allowed = f"At most {100 * GATE:g} points of main accuracy lost."
    judged = f"{allowed} {glossary.reference(section)}"
    facts: list[tuple[str, doc.Text]] = [
        ("Users", glossary.users(section)),
        ("Seeds", glossary.seeds(section)),
        *([("Accuracy gate", judged)] if section.is_backdoored else []),
        ("Setting", groups),
        ("Made on", made),
    ]
    blocks.append(doc.Facts(facts))
    if section.is_backdoored:
        blocks += _backdoors(s, section)
    if section.untargeted:
        blocks += [
            doc.Heading(3, "Untargeted attacks", f"untargeted-{s}"),
            doc.Paragraph(f"Main accuracy, %. {glossary.UNTARGETED}"),
            untargeted(s, section),
        ]
    notes: list[doc.Text] = [(doc.Mark("Note:"), f" {note}") for note in section.notes]
    return [
        *blocks,
        doc.Heading(3, "How to read this", f"reading-{s}"),
        doc.Bullets([*glossary.glossary(section), *notes]),
        doc.Heading(3, "Runs", f"runs-{s}"),
        *run_details(s, section),
    ]


def _backdoors(s: int, section: Section) -> list[doc.Block]:
    fixed = "fixed " if section.tuned else ""
    blocks: list[doc.Block] = [
        doc.Heading(3, "Defenses", f"defenses-{s}"),
        doc.Paragraph(
            "Ranked by worst-case in-sample backdoor accuracy, the lowest first. A row's numbers "
            f"are those under its worst {fixed}attack: means over the last fifth of the rounds, "
            "and with them the last round's."
        ),
        *([doc.Paragraph(glossary.TUNED_ORDER)] if section.tuned else []),
        tables.defenses(s, section),
        *(tuned_attackers(s, section) if section.tuned else []),
        doc.Heading(3, "Attacks", f"attacks-{s}"),
        tables.attacks(s, section),
        doc.Only("page", _figures(s, section)),
        doc.Heading(3, "Full matrix", f"matrix-{s}"),
        doc.Only("page", [doc.Paragraph("Every entry leads to its runs.")]),
    ]
    for metric, name in MATRICES.items():
        blocks.append(doc.Heading(4, f"{name}, %", f"matrix-{s}-{metric}"))
        blocks.append(tables.matrix(s, section, metric))
    return blocks


def _figures(s: int, section: Section) -> list[doc.Block]:
    shown = (
        "Main accuracy against in-sample backdoor accuracy, a point for each attack on each "
        "defense; the numbers stand in the full matrix below."
    )
    panels = [
        doc.Picture(f"curves-{s}-{i}", *tables.parted(defense))
        for i, defense in enumerate(section.defenses)
    ]
    return [
        doc.Heading(3, "Trade-off", f"trade-off-{s}"),
        doc.Picture(f"tradeoff-{s}", shown, TRADEOFF),
        doc.Heading(3, "Curves", f"curves-{s}"),
        doc.Paragraph(CURVES),
        doc.Panels(panels, [(attack, section.position(attack)) for attack in section.attacks]),
    ]
