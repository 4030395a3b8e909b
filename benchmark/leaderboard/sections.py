"""A leaderboard as a document."""

from benchmark.leaderboard import glossary, tables
from benchmark.leaderboard.board import Leaderboard, Section
from benchmark.leaderboard.runs import run_details
from benchmark.leaderboard.tuned import attacker, tuned_attackers
from benchmark.report.document import (
    Block,
    Bullets,
    Document,
    Facts,
    Heading,
    Mark,
    Only,
    Panels,
    Paragraph,
    Picture,
    Text,
)
from benchmark.results.gates import SUCCESS

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


def document(board: Leaderboard) -> Document:
    """All that is known, for a page and for a repository."""
    blocks = [b for s, section in enumerate(board.sections, start=1) for b in _section(s, section)]
    figures = [Picture("tradeoff", "Trade-off", TRADEOFF), Picture("curves", "Curves", CURVES)]
    return Document(
        title=f"Federated backdoor leaderboard: {board.name}",
        blocks=[*blocks, Only("text", [Heading(2, "Figures"), *figures])],
        lead=LEAD,
        footer=(
            "Written by ",
            Mark(f"python -m benchmark leaderboard {board.name}", "code"),
            ", from records alone; the same records give the same page. Accuracies in percent, "
            "differences in percentage points.",
        ),
    )


def summary(board: Leaderboard) -> list[Block]:
    """Both tables of every section and what they mean, for a terminal."""
    blocks: list[Block] = []
    for s, section in enumerate(board.sections, start=1):
        title = section.setting.label or board.name
        lowest = f"{title}: defenses, lowest worst-case backdoor accuracy first"
        highest = f"{title}: attacks, highest mean lift first"
        blocks += [Paragraph(""), tables.defenses(s, section, lowest)]
        blocks.append(tables.attacks(s, section, highest))
        told = [glossary.TUNED, glossary.TUNED_ORDER] if section.tuned else []
        for defense, found in section.tuned:
            run = f"; run it: {found.winner.command}" if found.winner else ""
            told.append(f"Tuned against {defense}: {attacker(found)}{run}")
        told += [
            glossary.missing(section),
            glossary.gate(section),
            f"{glossary.WINDOW} {glossary.seeds(section)}",
            glossary.users(section),
            *section.notes,
        ]
        blocks += [Paragraph((Mark(each, "quiet"),)) for each in told if each]
    return blocks


def _section(s: int, section: Section) -> list[Block]:
    fixed = "fixed " if section.tuned else ""
    blocks: list[Block] = [Heading(2, section.setting.label or "Results", f"setting-{s}")]
    if missing := glossary.missing(section):
        told = " Defenses and attacks that lack runs are listed without a rank."
        blocks.append(Paragraph((Mark(missing), told), warning=True))
    groups = "; ".join(f"{group}: {chosen}" for group, chosen in section.setting.groups.items())
    made = "; ".join(f"{fact}: {', '.join(met)}" for fact, met in section.environment.items())
    facts: list[tuple[str, Text]] = [
        ("Users", glossary.users(section)),
        ("Seeds", glossary.seeds(section)),
        ("Accuracy gate", glossary.reference(section)),
        ("Setting", groups),
        ("Made on", made),
    ]
    blocks += [
        Facts(facts),
        Heading(3, "Defenses", f"defenses-{s}"),
        Paragraph(
            "Ranked by worst-case in-sample backdoor accuracy, the lowest first. A row's numbers "
            f"are those under its worst {fixed}attack: means over the last fifth of the rounds, "
            "and with them the last round's."
        ),
        *([Paragraph(glossary.TUNED_ORDER)] if section.tuned else []),
        tables.defenses(s, section),
        *(tuned_attackers(s, section) if section.tuned else []),
        Heading(3, "Attacks", f"attacks-{s}"),
        tables.attacks(s, section),
        Only("page", _figures(s, section)),
        Heading(3, "Full matrix", f"matrix-{s}"),
        Only("page", [Paragraph("Every entry leads to its runs.")]),
    ]
    for metric, name in MATRICES.items():
        blocks.append(Heading(4, f"{name}, %", f"matrix-{s}-{metric}"))
        blocks.append(tables.matrix(s, section, metric))
    notes: list[Text] = [(Mark("Note:"), f" {note}") for note in section.notes]
    return [
        *blocks,
        Heading(3, "How to read this", f"reading-{s}"),
        Bullets([*glossary.glossary(section), *notes]),
        Heading(3, "Runs", f"runs-{s}"),
        *run_details(s, section),
    ]


def _figures(s: int, section: Section) -> list[Block]:
    shown = (
        "Main accuracy against in-sample backdoor accuracy, a point for each attack on each "
        "defense; the numbers stand in the full matrix below."
    )
    panels = [
        Picture(f"curves-{s}-{i}", *tables.parted(defense))
        for i, defense in enumerate(section.defenses)
    ]
    return [
        Heading(3, "Trade-off", f"trade-off-{s}"),
        Picture(f"tradeoff-{s}", shown, TRADEOFF),
        Heading(3, "Curves", f"curves-{s}"),
        Paragraph(CURVES),
        Panels(panels, [(attack, section.position(attack)) for attack in section.attacks]),
    ]
