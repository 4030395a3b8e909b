"""The tables of a leaderboard: each column is declared once, for pages, repositories, terminals."""

from typing import Any

from benchmark.leaderboard import tuned
from benchmark.leaderboard.board import AttackRow, DefenseRow, Section, counted, score
from benchmark.leaderboard.runs import cell_anchor, gaps, runs_of
from benchmark.report.document import Column, Entry, Link, Mark, Table, Text
from benchmark.report.numbers import NOTHING, interval, number, short
from benchmark.results.gates import SUCCESS, succeeds
from benchmark.results.statistics import Estimate

TUNED_ROOM = 28
"""Characters of a terminal that the columns of tuned attackers take."""


def defenses(s: int, section: Section, title: str = "") -> Table[DefenseRow]:
    """Ranked by the worst case; ``s`` is the section's number, from 1."""
    room = TUNED_ROOM * bool(section.tuned)
    fixed = "fixed, " * bool(section.tuned)

    def worst(row: DefenseRow) -> Entry:
        return named(row.worst.attack if row.worst else NOTHING)

    def seconds(row: DefenseRow) -> Entry:
        return Entry(short(row.seconds), row.seconds)

    at_most = "at most, points"
    columns: list[Column[DefenseRow]] = [
        Column("Defense", lambda row: named(row.defense), is_number=False),
        scored("Backdoor in-sample", "worst", "in_sample", f"worst case, {fixed}%"),
        *(_by_tuning(s, section) if section.tuned else []),
        *(_of_ensemble(section.ensemble, 96 + room) if section.ensemble else []),
        scored("Backdoor held-out", "worst", "held_out"),
        scored("Lift", "worst", "lift", "points", room=120 + room),
        Column("Worst attack", worst, is_number=False),
        scored("Main accuracy attacked", "worst", "main"),
        scored("Main accuracy unattacked", "unattacked", "main", room=96 + room),
        scored("Main accuracy lost", "dearest", "loss", at_most, room=112 + room),
        scored("Honest cost", "worst", "cost", "points", room=150 + room),
        Column("Time", seconds, "s / round", room=150 + room),
        Column("Seeds", lambda row: str(row.seeds), room=135 + room, only="text"),
        runs_of(s, section),
    ]
    return Table(
        columns,
        section.defense_rows,
        title=title,
        rank=lambda row: row.rank,
        status=_defense_status,
        is_quiet=lambda row: row.rank is None,
        is_sortable=True,
    )


def _of_ensemble(name: str, room: int) -> list[Column[DefenseRow]]:
    def entry(row: DefenseRow) -> Entry:
        return Entry(interval(row.ensemble), sort_key(row.ensemble))

    return [Column(name, entry, "worst by seed, %", room=room)]


def attacks(s: int, section: Section, title: str = "") -> Table[AttackRow]:
    """Ranked by mean lift."""

    def lift(row: AttackRow) -> Entry:
        return Entry(interval(row.lift, signed=True), sort_key(row.lift))

    def successes(row: AttackRow) -> Entry:
        return Entry(f"{row.successes} of {row.defenses}", row.successes)

    limit = f"defenses, from {100 * SUCCESS:.0f} %"
    columns: list[Column[AttackRow]] = [
        Column("Attack", lambda row: named(row.attack), is_number=False),
        Column("Mean lift", lift, "points", descending=True),
        scored("In-sample undefended", "undefended", "in_sample", descending=True),
        scored("Lift undefended", "undefended", "lift", "points", room=120, descending=True),
        Column("Succeeds on", successes, limit, descending=True),
        _into("Gets most into", "worst_defense", room=70),
        _into("Gets least into", "best_defense", room=90),
        runs_of(s, section),
    ]
    return Table(
        columns,
        section.attack_rows,
        title=title,
        rank=lambda row: row.rank,
        status=lambda row: _status("incomplete", row.reason, _diverged(row.diverged)),
        is_quiet=lambda row: row.rank is None,
        is_sortable=True,
    )


def matrix(s: int, section: Section, metric: str) -> Table[str]:
    """A score of every attack on every defense."""

    def column(attack: str) -> Column[str]:
        def entry(defense: str) -> Entry:
            cell = section.cell(attack, defense)
            value = score(cell, metric)
            if not cell.runs:
                return Entry((Mark("missing", "gap"),))
            shown = Link(interval(value), f"#{cell_anchor(s, section, cell)}")
            share = value.mean if value and metric != "main" else None
            return Entry((shown,), sort_key(value), gaps(cell), share)

        return Column(attack, entry, descending=metric == "main")

    first: Column[str] = Column("Defense", named, is_number=False)
    columns = [first, *map(column, section.attacks)]
    return Table(columns, section.defenses, is_sortable=True)


def parted(label: str) -> tuple[str, str]:
    """A label's name and its parameters: ``norm_clip`` and ``norm_bound=0.5``."""
    name, _, parameters = label.partition(" (")
    return name, parameters.removesuffix(")")


def named(label: str) -> Entry:
    """A label's name, and its parameters as a note."""
    name, parameters = parted(label)
    return Entry(name, label, parameters)


def _status(status: str, reason: str, *further: str) -> Text:
    """Why there is no rank, and what else must be said of a row."""
    told = "; ".join(each for each in (reason, *further) if each)
    return (Mark(status), f": {told}") if reason else told


def _diverged(runs: int) -> str:
    return f"{counted(runs, 'run')} diverged" if runs else ""


def _defense_status(row: DefenseRow) -> Text:
    return _status(
        row.status,
        row.reason,
        f"{counted(row.flagged, 'run')} below the gate" if row.flagged else "",
        _diverged(row.diverged),
        f"rejected everybody in {counted(row.all_rejected, 'round')}" if row.all_rejected else "",
    )


def _by_tuning(s: int, section: Section) -> list[Column[DefenseRow]]:
    def reached(row: DefenseRow) -> Entry:
        if row.tuned is None:
            return Entry((Mark("not tuned", "gap"),))
        note = f"{row.tuned.trials} trials, {row.tuned.sampler}"
        href = f"#{tuned.anchor(s, section, row.defense)}"
        if row.tuned.winner is None:
            return Entry((Link("none found", href),), note=note)
        value = row.tuned.winner.in_sample
        link = Link(interval(value), href, "hot" if succeeds(value.mean) else "plain")
        return Entry((link,), value.mean, note)

    def gain(row: DefenseRow) -> Entry:
        value = row.tuned.winner.gain if row.tuned and row.tuned.winner else None
        return Entry(interval(value, signed=True), sort_key(value))

    def spent(row: DefenseRow) -> Text:
        return (Mark(tuned.budget(row.tuned), "quiet"),)

    return [
        Column("Backdoor in-sample", reached, "worst case, tuned, %"),
        Column("Gain by tuning", gain, "points", room=110),
        Column("Budget of tuning", spent, is_number=False, room=165, only="text"),
    ]


def scored(head: str, of: str, metric: str, unit: str = "%", **options: Any) -> Column[Any]:
    """A mean with its interval, and the last round's; a backdoor that succeeds stands out.

    Args:
        head, unit: of the column; in points are differences.
        of: the cell of a row.
        metric: of that cell.
        options: of the column; of main accuracy the largest come first.
    """

    def entry(row: Any) -> Entry:
        cell = getattr(row, of)
        value, last = score(cell, metric), getattr(cell, f"final_{metric}", None)
        told = interval(value, signed="points" in unit)
        is_hot = value is not None and metric in ("in_sample", "held_out") and succeeds(value.mean)
        shown: Text = (Mark(told, "hot"),) if is_hot else told
        return Entry(shown, sort_key(value), f"final {number(last.mean)}" if last else "")

    return Column(head, entry, unit, **{"descending": metric == "main", **options})


def _into(head: str, of: str, room: int) -> Column[AttackRow]:
    """A defense and how far an attack gets into it."""

    def entry(row: AttackRow) -> Entry:
        cell = getattr(row, of)
        if cell is None:
            return Entry(NOTHING, "")
        name, parameters = parted(cell.defense)
        return Entry(f"{interval(cell.in_sample)} {name}", sort_key(cell.in_sample), parameters)

    return Column(head, entry, "in-sample, %", is_number=False, descending=True, room=room)


def sort_key(value: Estimate | None) -> float | None:
    """What readers sort by."""
    return None if value is None else value.mean
