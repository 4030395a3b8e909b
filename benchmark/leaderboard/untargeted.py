"""The table of untargeted attacks: the main accuracy that they leave."""

from dataclasses import dataclass, replace

from benchmark.leaderboard.board import Matchup, Section, score
from benchmark.leaderboard.runs import cell_anchor, gaps
from benchmark.leaderboard.tables import named, parted, scored, sort_key
from benchmark.report.document import Column, Entry, Link, Mark, Table
from benchmark.report.numbers import NOTHING, interval


@dataclass(frozen=True)
class Harmed:
    """A defense under untargeted attacks.

    Attributes:
        defense: its label.
        unattacked: the cell without an attack; None where there is none.
        cells: those of the attacks, by their labels.
    """

    defense: str
    unattacked: Matchup | None
    cells: dict[str, Matchup]

    @property
    def worst(self) -> Matchup | None:
        """The cell with the lowest main accuracy."""
        measured = [cell for cell in self.cells.values() if cell.main]
        return min(measured, key=lambda c: (c.main and c.main.mean, c.attack), default=None)


def untargeted(s: int, section: Section, title: str = "") -> Table[Harmed]:
    """Main accuracy that untargeted attacks leave, most under the worst of them first."""
    rows = {cell.defense: Harmed(cell.defense, None, {}) for cell in section.untargeted}
    for cell in section.untargeted:
        rows[cell.defense].cells[cell.attack] = cell
    for cell in section.cells:
        if cell.attack == section.unattacked and cell.defense in rows:
            rows[cell.defense] = replace(rows[cell.defense], unattacked=cell)

    def under(attack: str, place: int) -> Column[Harmed]:
        def entry(row: Harmed) -> Entry:
            cell = row.cells[attack]
            if not cell.runs:
                return Entry((Mark("missing", "gap"),))
            shown = Link(interval(cell.main), f"#{cell_anchor(s, section, cell)}")
            return Entry((shown,), sort_key(cell.main), gaps(cell))

        name, parameters = parted(attack)
        return Column(name, entry, parameters or "%", descending=True, room=90 + 16 * place)

    def worst(row: Harmed) -> Entry:
        return named(row.worst.attack if row.worst else NOTHING)

    attacks = dict.fromkeys(cell.attack for cell in section.untargeted)
    columns: list[Column[Harmed]] = [
        Column("Defense", lambda row: named(row.defense), is_number=False),
        scored("Unattacked", "unattacked", "main"),
        scored("Lowest", "worst", "main"),
        Column("Most harmful attack", worst, is_number=False),
        *(under(attack, place) for place, attack in enumerate(attacks, start=1)),
    ]
    ordered = sorted(
        rows.values(), key=lambda row: (-(sort_key(score(row.worst, "main")) or 0), row.defense)
    )
    return Table(columns, ordered, title=title, is_sortable=True)
