"""The tables of a leaderboard: each column is declared once, for pages, repositories, terminals."""

from collections.abc import Callable
from typing import Any

from benchmark.leaderboard import tuned
from benchmark.leaderboard.board import AttackRow, DefenseRow, Matchup, Section, score
from benchmark.leaderboard.runs import cell_anchor, runs_of
from benchmark.report.document import Column, Entry, Link, Mark, Table, Text
from benchmark.report.numbers import NOTHING, interval, number, short
from benchmark.results.gates import SUCCESS
from benchmark.results.statistics import Estimate

TUNED_ROOM = 28
"""Characters of a terminal that the columns of tuned attackers take."""

Get = Callable[[Any], Estimate | None]


def defenses(s: int, section: Section, title: str = "") -> Table[DefenseRow]:
    """Ranked by the worst case; ``s`` is the section's number, from 1."""
    room = TUNED_ROOM * bool(section.tuned)
    fixed = "fixed, " * bool(section.tuned)
    columns: list[Column[DefenseRow]] = [
        Column("Defense", lambda row: _name(row.defense), is_number=False),
        _worst("Backdoor in-sample", f"worst case, {fixed}%", "in_sample", is_hot=True),
        *(_by_tuning(s, section) if section.tuned else []),
        _worst("Backdoor held-out", "%", "held_out", is_hot=True),
        _worst("Lift", "points", "lift", signed=True, room=120 + room),
        Column("Worst attack", lambda row: _name(row.worst_attack or NOTHING), is_number=False),
        _worst("Main accuracy attacked", "%", "main", descending=True),
        _scored(
            "Main accuracy unattacked",
            "%",
            lambda row: score(row.unattacked, "main"),
            descending=True,
            room=96 + room,
        ),
        _worst("Honest cost", "points", "cost", signed=True, room=135 + room),
        Column(
            "Time", lambda row: Entry(short(row.seconds), row.seconds), "s / round", room=135 + room
        ),
        Column(
            "Seeds", lambda row: Entry(str(row.seeds), row.seeds), descending=True, room=120 + room
        ),
        runs_of(s, section, "defense"),
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


def attacks(s: int, section: Section, title: str = "") -> Table[AttackRow]:
    """Ranked by mean lift."""

    def undefended(metric: str) -> Get:
        return lambda row: score(row.undefended, metric)

    columns: list[Column[AttackRow]] = [
        Column("Attack", lambda row: _name(row.attack), is_number=False),
        _scored("Mean lift", "points", lambda row: row.lift, signed=True, descending=True),
        _scored("In-sample undefended", "%", undefended("in_sample"), descending=True, is_hot=True),
        _scored(
            "Lift undefended", "points", undefended("lift"), signed=True, descending=True, room=120
        ),
        Column(
            "Succeeds on",
            lambda row: Entry(f"{row.successes} of {row.defenses}", row.successes),
            f"defenses, over {100 * SUCCESS:.0f} %",
            descending=True,
        ),
        _into("Gets most into", lambda row: row.worst_defense, room=70),
        _into("Gets least into", lambda row: row.best_defense, room=90),
        runs_of(s, section, "attack"),
    ]
    return Table(
        columns,
        section.attack_rows,
        title=title,
        rank=lambda row: row.rank,
        status=lambda row: (Mark("incomplete"), f": {row.reason}") if row.reason else "",
        is_quiet=lambda row: row.rank is None,
        is_sortable=True,
    )


def matrix(s: int, section: Section, metric: str) -> Table[str]:
    """A score of every attack on every defense."""

    def column(attack: str) -> Column[str]:
        def entry(defense: str) -> Entry:
            cell = section.cell(attack, defense)
            value: Estimate | None = getattr(cell, metric)
            if not cell.runs:
                return Entry((Mark("missing", "gap"),))
            missing = (Mark(f"{len(cell.missing)} missing", "gap"),) if cell.missing else ""
            shown = Link(interval(value), f"#{cell_anchor(s, section, cell)}")
            share = value.mean if value and metric != "main" else None
            return Entry((shown,), _key(value), missing, share)

        return Column(attack, entry, descending=metric == "main")

    first: Column[str] = Column("Defense", _name, is_number=False)
    columns = [first, *map(column, section.attacks)]
    return Table(columns, section.defenses, is_sortable=True)


def parted(label: str) -> tuple[str, str]:
    """A label's name and its parameters: ``norm_clip`` and ``norm_bound=0.5``."""
    name, _, parameters = label.partition(" (")
    return name, parameters.removesuffix(")")


def _name(label: str) -> Entry:
    name, parameters = parted(label)
    return Entry(name, label, parameters)


def _defense_status(row: DefenseRow) -> Text:
    flagged = f"{row.flagged} of its runs below the gate" if row.flagged else ""
    if not row.reason:
        return flagged
    return (Mark(row.status), f": {row.reason}{'; ' if flagged else ''}{flagged}")


def _by_tuning(s: int, section: Section) -> list[Column[DefenseRow]]:
    def reached(row: DefenseRow) -> Entry:
        if row.tuned is None:
            return Entry((Mark(tuned.NOT_TUNED, "gap"),))
        note = f"{row.tuned.trials} trials, {row.tuned.sampler}"
        href = f"#{tuned.anchor(s, section, row.defense)}"
        if row.tuned.winner is None:
            return Entry((Link("none found", href),), note=note)
        value = row.tuned.winner.in_sample
        return Entry(
            (Link(interval(value), href, "hot" if _is_hot(value) else "plain"),), value.mean, note
        )

    def gain(row: DefenseRow) -> Estimate | None:
        return row.tuned.winner.gain if row.tuned and row.tuned.winner else None

    def spent(row: DefenseRow) -> Text:
        return (Mark(tuned.budget(row.tuned), "quiet"),)

    return [
        Column("Backdoor in-sample", reached, "worst case, tuned, %"),
        _scored("Gain by tuning", "points", gain, signed=True, room=110),
        Column("Budget of tuning", spent, is_number=False, room=165, only="text"),
    ]


def _worst(head: str, unit: str, metric: str, **options: Any) -> Column[DefenseRow]:
    """A score under a defense's worst attack, and beside it that of the last round."""

    def final(row: DefenseRow) -> Estimate | None:
        return getattr(row.worst, f"final_{metric}", None)

    return _scored(head, unit, lambda row: score(row.worst, metric), final=final, **options)


def _scored(
    head: str,
    unit: str,
    get: Get,
    *,
    signed: bool = False,
    is_hot: bool = False,
    final: Get = lambda row: None,
    **options: Any,
) -> Column[Any]:
    """A column of means with intervals; alarming ones stand out if they are of a backdoor."""

    def entry(row: Any) -> Entry:
        value, last = get(row), final(row)
        told = interval(value, signed)
        shown: Text = (Mark(told, "hot"),) if is_hot and _is_hot(value) else told
        return Entry(shown, _key(value), f"final {number(last.mean)}" if last else "")

    return Column(head, entry, unit, **options)


def _into(head: str, get: Callable[[AttackRow], Matchup | None], room: int) -> Column[AttackRow]:
    """A defense and how far an attack gets into it."""

    def entry(row: AttackRow) -> Entry:
        cell = get(row)
        if cell is None or cell.in_sample is None:
            return Entry(NOTHING, "")
        name, parameters = parted(cell.defense)
        return Entry(f"{interval(cell.in_sample)} {name}", _key(cell.in_sample), parameters)

    return Column(head, entry, "in-sample, %", is_number=False, descending=True, room=room)


def _is_hot(value: Estimate | None) -> bool:
    return value is not None and value.mean > SUCCESS


def _key(value: Estimate | None) -> float | None:
    return None if value is None else value.mean
