"""The leaderboard in the terminal."""

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from benchmark.leaderboard import words
from benchmark.leaderboard.board import SUCCESS, AttackRow, Cell, DefenseRow, Leaderboard, Section
from benchmark.leaderboard.statistics import Estimate
from benchmark.leaderboard.words import interval

WIDE = 130


def to_terminal(leaderboard: Leaderboard) -> RenderableType:
    """Both tables of every section, with more columns where the terminal has room for them."""
    return Group(*(_Tables(leaderboard, section) for section in leaderboard.sections))


class _Tables:
    def __init__(self, leaderboard: Leaderboard, section: Section) -> None:
        self.section = section
        self.title = words.title(leaderboard, section)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        section = self.section
        yield Text()
        yield _defenses(section, self.title, wide)
        yield Text()
        yield _attacks(section, self.title, wide)
        yield Text()
        for told in (
            words.missing_told(section),
            words.gate_told(section),
            f"{words.WINDOW} {words.seeds_told(section)}",
            words.users_told(section),
            *section.notes,
        ):
            if told:
                yield Text(told, style="dim")


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )


def _defenses(section: Section, title: str, wide: bool) -> Table:
    table = _table(f"{title} · defenses, lowest worst-case backdoor accuracy first")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("defense", overflow="fold", min_width=14)
    for heading in ("in-sample\n%", "held-out\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("lift\npoints", justify="right", no_wrap=True)
    table.add_column("worst attack", overflow="fold", min_width=8)
    for heading in ("main, %\nattacked", "main, %\nunattacked"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("honest cost\npoints", justify="right", no_wrap=True)
        table.add_column("s/round", justify="right", no_wrap=True)
        table.add_column("seeds", justify="right", no_wrap=True)
    for row in section.defense_rows:
        table.add_row(*_defense(row, wide), style="" if row.rank else "dim")
    return table


def _defense(row: DefenseRow, wide: bool) -> list[RenderableType]:
    worst, plain = row.worst, row.unattacked
    name = Text(row.defense)
    if row.rank is None:
        name.append(f"\n{row.status}: {row.reason}", style="yellow")
    elif row.flagged:
        name.append(f"\n{row.flagged} runs below the gate", style="yellow")
    return [
        Text(words.NOTHING if row.rank is None else str(row.rank)),
        name,
        _backdoor(worst and worst.in_sample),
        _backdoor(worst and worst.held_out),
        *([Text(interval(worst and worst.lift, signed=True))] if wide else []),
        Text(row.worst_attack or words.NOTHING),
        Text(interval(worst and worst.main)),
        Text(interval(plain and plain.main)),
        *([Text(interval(worst and worst.cost, signed=True))] if wide else []),
        *([Text(words.seconds(row.seconds)), Text(str(row.seeds))] if wide else []),
    ]


def _backdoor(value: Estimate | None) -> Text:
    text = Text(interval(value))
    if value is not None and value.mean > SUCCESS:
        text.stylize("bold red")
    return text


def _attacks(section: Section, title: str, wide: bool) -> Table:
    table = _table(f"{title} · attacks, highest mean lift first")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("attack", overflow="fold", min_width=8)
    table.add_column("mean lift\npoints", justify="right", no_wrap=True)
    table.add_column("undefended\nin-sample, %", justify="right", no_wrap=True)
    table.add_column(f"succeeds\n(> {100 * SUCCESS:.0f} %)", justify="right", no_wrap=True)
    table.add_column("gets most into", overflow="fold")
    table.add_column("gets least into", overflow="fold")
    for row in section.attack_rows:
        table.add_row(*_attack(row), style="" if row.rank else "dim")
    return table


def _attack(row: AttackRow) -> list[RenderableType]:
    name = Text(row.attack)
    if row.reason:
        name.append(f"\nincomplete: {row.reason}", style="yellow")
    return [
        Text(words.NOTHING if row.rank is None else str(row.rank)),
        name,
        Text(interval(row.lift, signed=True)),
        Text(interval(row.undefended and row.undefended.in_sample)),
        Text(f"{row.successes} of {row.defenses}"),
        _against(row.worst_defense),
        _against(row.best_defense),
    ]


def _against(cell: Cell | None) -> Text:
    if cell is None:
        return Text(words.NOTHING)
    text = Text(f"{cell.defense} ")
    return text.append(interval(cell.in_sample), style="dim")
