"""The runs behind a leaderboard: how each is found and repeated."""

from typing import Literal

from benchmark.leaderboard.board import AttackRow, DefenseRow, Matchup, Run, Section
from benchmark.report.document import (
    Block,
    Code,
    Column,
    Details,
    Entry,
    Heading,
    Link,
    Mark,
    Paragraph,
    Table,
    Text,
)
from benchmark.report.numbers import percent

NOT_TRACKED = "not tracked"


def cell_anchor(s: int, section: Section, cell: Matchup) -> str:
    """Where a page tells of a cell's runs; ``s`` is the section's number, from 1."""
    return f"cell-{s}-{section.defenses.index(cell.defense)}-{section.attacks.index(cell.attack)}"


def runs_of(s: int, section: Section, by: Literal["attack", "defense"]) -> Column:
    """A column of a page that leads from an attack or a defense to its cells' runs."""
    other = "defense" if by == "attack" else "attack"

    def line(cell: Matchup) -> Text:
        name: str = getattr(cell, other)
        missing = Mark(f" {len(cell.missing)} missing" if cell.missing else "", "gap")
        return (Link(name, f"#{cell_anchor(s, section, cell)}") if cell.runs else name, missing)

    def entry(row: AttackRow | DefenseRow) -> Entry:
        cells = [cell for cell in section.cells if getattr(cell, by) == getattr(row, by)]
        count = sum(len(cell.runs) for cell in cells)
        return Entry(_runs(count), count, more=[line(cell) for cell in cells])

    return Column("Runs", entry, is_number=False, descending=True, only="page")


def run_details(s: int, section: Section) -> list[Block]:
    """Every cell, to be opened."""
    blocks: list[Block] = [
        Paragraph("Each run is a record beside this page; the command repeats it.")
    ]
    for defense in section.defenses:
        blocks.append(Heading(4, defense, f"runs-{s}-{section.defenses.index(defense)}"))
        for cell in (cell for cell in section.cells if cell.defense == defense):
            seeds = (
                f" seed{'s' * (len(cell.missing) > 1)} {', '.join(map(str, cell.missing))} missing"
            )
            summary = (
                f"{cell.attack} ",
                Mark(_runs(len(cell.runs)), "quiet"),
                Mark(seeds if cell.missing else "", "gap"),
            )
            told = [block for run in cell.runs for block in _run(run)]
            blocks.append(Details(summary, told, cell_anchor(s, section, cell)))
    return blocks


def run_table(section: Section) -> Table:
    """Every run in a row."""
    rows: list[list[Text]] = []
    for cell in section.cells:
        for run in cell.runs:
            flag = " (below the gate)" if run.below_gate else ""
            found = [run.record, run.mlflow_run_id or NOT_TRACKED, run.command]
            rows.append([cell.attack + flag, cell.defense, str(run.seed), *found])
        rows += [[cell.attack, cell.defense, str(s), "missing", "", ""] for s in cell.missing]
    head = ["Attack", "Defense", "Seed", "Record", "MLflow run", "Command"]
    return Table.of(head, rows, words=len(head))


def _run(run: Run) -> list[Block]:
    told = (
        f": in-sample {percent(run.in_sample)}, held-out {percent(run.held_out)}, "
        f"main {percent(run.main)}"
    )
    below = Mark(" below the gate" if run.below_gate else "", "gap")
    tracked = Mark(run.mlflow_run_id or NOT_TRACKED, "code")
    return [
        Paragraph((Mark(f"Seed {run.seed}"), told, below)),
        Paragraph((Link(run.record, run.record), " · MLflow run ", tracked)),
        Code(run.command),
    ]


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"
