"""The runs behind a leaderboard: how each is found and repeated."""

from benchmark.leaderboard.board import AttackRow, DefenseRow, Matchup, Run, Section, counted
from benchmark.report import document as doc
from benchmark.report.numbers import percent

NOT_TRACKED = "not tracked"


def cell_anchor(s: int, section: Section, cell: Matchup) -> str:
    """Where a page tells of a cell's runs; ``s`` is the section's number, from 1."""
    defenses, attacks = _names(section)
    return f"cell-{s}-{defenses.index(cell.defense)}-{attacks.index(cell.attack)}"


def _names(section: Section) -> tuple[list[str], list[str]]:
    """All defenses and attacks, those of backdoors first."""
    cells = section.untargeted
    defenses = dict.fromkeys([*section.defenses, *(cell.defense for cell in cells)])
    attacks = dict.fromkeys([*section.attacks, *(cell.attack for cell in cells)])
    return list(defenses), list(attacks)


def gaps(cell: Matchup) -> doc.Text:
    """What a cell lacks: runs that are missing, and those that diverged."""
    counts = {"missing": len(cell.missing), "diverged": cell.diverged}
    told = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    return (doc.Mark(told, "gap"),) if told else ()


def runs_of(s: int, section: Section) -> doc.Column:
    """A column of a page that leads from an attack or a defense to its cells' runs."""

    def entry(row: AttackRow | DefenseRow) -> doc.Entry:
        def line(cell: Matchup) -> doc.Text:
            name = cell.attack if isinstance(row, DefenseRow) else cell.defense
            link = doc.Link(name, f"#{cell_anchor(s, section, cell)}") if cell.runs else name
            return (link, " ", *gaps(cell))

        cells = section.of(row)
        count = sum(len(cell.runs) for cell in cells)
        seeds = counted(row.seeds, "seed") if isinstance(row, DefenseRow) else ""
        return doc.Entry(counted(count, "run"), count, seeds, more=[line(cell) for cell in cells])

    return doc.Column("Runs", entry, is_number=False, descending=True, only="page")


def run_details(s: int, section: Section) -> list[doc.Block]:
    """Every cell, to be opened."""
    blocks: list[doc.Block] = [
        doc.Paragraph("Each run is a record beside this page; the command repeats it.")
    ]
    for d, defense in enumerate(_names(section)[0]):
        blocks.append(doc.Heading(4, defense, f"runs-{s}-{d}"))
        every = (*section.cells, *section.untargeted)
        for cell in (cell for cell in every if cell.defense == defense):
            summary = (f"{cell.attack} ", doc.Mark(counted(len(cell.runs), "run"), "quiet"))
            told = [block for run in cell.runs for block in _run(run)]
            if cell.missing:
                seeds = f"Seed{'s' * (len(cell.missing) > 1)} {', '.join(map(str, cell.missing))}"
                told.append(doc.Paragraph((doc.Mark(f"{seeds} missing", "gap"),)))
            anchor = cell_anchor(s, section, cell)
            blocks.append(doc.Details((*summary, " ", *gaps(cell)), told, anchor))
    return blocks


def _run(run: Run) -> list[doc.Block]:
    told = (
        f": in-sample {percent(run.in_sample)}, held-out {percent(run.held_out)}, "
        f"main {percent(run.main)} "
    )
    tracked = doc.Mark(run.mlflow_run_id or NOT_TRACKED, "code")
    return [
        doc.Paragraph((doc.Mark(f"Seed {run.seed}"), told, doc.Mark(run.remark, "gap"))),
        doc.Paragraph((doc.Link(run.record, run.record), " · MLflow run ", tracked)),
        doc.Code(run.command),
    ]
