"""The leaderboard in the terminal."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from benchmark.leaderboard import words
from benchmark.leaderboard.board import AttackRow, Cell, DefenseRow, Leaderboard, Section, score
from benchmark.leaderboard.words import interval
from benchmark.results.gates import SUCCESS
from benchmark.results.statistics import Estimate


class _Column(NamedTuple):
    """What a column holds, and the narrowest terminal that has room for it."""

    heading: str
    content: Callable[[Any], Text]
    room: int = 0
    number: bool = True


def to_terminal(leaderboard: Leaderboard) -> RenderableType:
    """Both tables of every section, with more columns where the terminal has room for them."""
    return Group(*(_Tables(leaderboard, section) for section in leaderboard.sections))


class _Tables:
    def __init__(self, leaderboard: Leaderboard, section: Section) -> None:
        self.section = section
        self.title = words.title(leaderboard, section)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        section, room = self.section, options.max_width
        yield Text()
        yield _table(
            f"{self.title}: defenses, lowest worst-case backdoor accuracy first",
            TUNED_DEFENSES if section.tuned else DEFENSES,
            section.defense_rows,
            room,
        )
        yield _table(
            f"{self.title}: attacks, highest mean lift first", ATTACKS, section.attack_rows, room
        )
        for told in (
            *_tuned(section),
            words.missing_told(section),
            words.gate_told(section),
            f"{words.WINDOW} {words.seeds_told(section)}",
            words.users_told(section),
            *section.notes,
        ):
            if told:
                yield Text(told, style="dim")


def _tuned(section: Section) -> list[str]:
    """A line for each search, and what they mean for the order."""
    lines = []
    for defense, tuned in section.tuned:
        found = tuned.winner
        told = f"{found.attack}; run it: {found.command}" if found else words.NONE_FOUND
        lines.append(f"Tuned against {defense}: {told}")
    return [*lines, words.TUNED, words.TUNED_ORDER] if section.tuned else []


def _table(
    title: str, columns: list[_Column], rows: list[DefenseRow] | list[AttackRow], room: int
) -> Table:
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    shown = [column for column in columns if column.room <= room]
    for column in shown:
        table.add_column(
            column.heading,
            justify="right" if column.number else "left",
            no_wrap=column.number,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(c.content(row) for c in shown), style="dim" if row.rank is None else "")
    return table


def _rank(row: DefenseRow | AttackRow) -> Text:
    return Text(words.NOTHING if row.rank is None else str(row.rank))


def _defense(row: DefenseRow) -> Text:
    name = _label(row.defense)
    if row.rank is None:
        name.append(f"\n{row.status}: {row.reason}", style="yellow")
    elif row.flagged:
        name.append(f"\n{row.flagged} of its runs below the gate", style="yellow")
    return name


def _attack(row: AttackRow) -> Text:
    name = _label(row.attack)
    if row.reason:
        name.append(f"\nincomplete: {row.reason}", style="yellow")
    return name


def _label(label: str) -> Text:
    name, parameters = words.parted(label)
    return Text(name).append(f"\n{parameters}" if parameters else "", style="dim")


def _backdoor(value: Estimate | None) -> Text:
    alarming = value is not None and value.mean > SUCCESS
    return Text(interval(value), style="bold red" if alarming else "")


def _tuned_score(row: DefenseRow) -> Text:
    if row.tuned is None:
        return Text(words.NOT_TUNED, style="yellow")
    if row.tuned.winner is None:
        return Text("none\nfound")
    return _backdoor(row.tuned.winner.in_sample)


def _number(value: Estimate | None, signed: bool = False) -> Text:
    return Text(interval(value, signed))


def _against(cell: Cell | None) -> Text:
    if cell is None:
        return Text(words.NOTHING)
    reached = words.number(None if cell.in_sample is None else cell.in_sample.mean)
    return Text(f"{reached} ").append_text(_label(cell.defense))


DEFENSES = [
    _Column("#", _rank),
    _Column("defense", _defense, number=False),
    _Column("in-sample\n%", lambda row: _backdoor(score(row.worst, "in_sample"))),
    _Column("held-out\n%", lambda row: _backdoor(score(row.worst, "held_out"))),
    _Column("lift\npoints", lambda row: _number(score(row.worst, "lift"), signed=True), 120),
    _Column("worst attack", lambda row: _label(row.worst_attack or words.NOTHING), number=False),
    _Column("main, %\nattacked", lambda row: _number(score(row.worst, "main"))),
    _Column("main, %\nunattacked", lambda row: _number(score(row.unattacked, "main")), 96),
    _Column("honest cost\npoints", lambda row: _number(score(row.worst, "cost"), True), 135),
    _Column("s/round", lambda row: Text(words.seconds(row.seconds)), 135),
    _Column("seeds", lambda row: Text(str(row.seeds)), 120),
]

TUNED_DEFENSES = [
    *DEFENSES[:2],
    _Column("fixed\n%", DEFENSES[2].content),
    _Column("tuned\n%", _tuned_score),
    _Column("gain\npoints", lambda row: Text(words.gain(row)), 110),
    _Column("budget", lambda row: Text(words.budget(row), style="dim"), 135, number=False),
    *DEFENSES[3:],
]

ATTACKS = [
    _Column("#", _rank),
    _Column("attack", _attack, number=False),
    _Column("mean lift\npoints", lambda row: _number(row.lift, signed=True)),
    _Column("undefended\nin-sample, %", lambda row: _backdoor(score(row.undefended, "in_sample"))),
    _Column(
        f"succeeds\n(> {100 * SUCCESS:.0f} %)",
        lambda row: Text(f"{row.successes} of {row.defenses}"),
    ),
    _Column("most into\n%", lambda row: _against(row.worst_defense), 70, number=False),
    _Column("least into\n%", lambda row: _against(row.best_defense), 90, number=False),
]
