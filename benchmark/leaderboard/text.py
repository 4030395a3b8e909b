"""The leaderboard as Markdown, for repositories."""

from typing import Any

from benchmark.leaderboard import words
from benchmark.leaderboard.board import AttackRow, Cell, DefenseRow, Leaderboard, Section, score
from benchmark.leaderboard.words import interval, number


def to_markdown(leaderboard: Leaderboard) -> str:
    """Tables, what they mean, and the runs behind them."""
    lines = [f"# Leaderboard: {_plain(leaderboard.name)}", ""]
    for section in leaderboard.sections:
        if section.setting.label:
            lines += [f"## {_plain(section.setting.label)}", ""]
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> list[str]:
    lines = [
        _plain(words.users_told(section)),
        "",
        _plain(", ".join(f"{g}: {c}" for g, c in section.setting.groups.items())) + ".",
        _plain(words.environment_told(section)),
        "",
    ]
    if words.missing_told(section):
        lines += [f"**{words.missing_told(section)}**", ""]
    lines += ["### Defenses", "", *_defenses(section), ""]
    if section.tuned:
        lines += ["### Tuned attackers", "", *_tuned(section), ""]
    lines += ["### Attacks", "", *_attacks(section), ""]
    for heading, metric in (
        ("In-sample backdoor accuracy", "in_sample"),
        ("Held-out backdoor accuracy", "held_out"),
        ("Main accuracy", "main"),
    ):
        lines += [f"### {heading} (%), every attack on every defense", ""]
        lines += [*_matrix(section, metric), ""]
    lines += ["### How to read this", ""]
    lines += [f"- {_plain(told)}" for told in words.glossary(section)]
    lines += [f"- Note: {_plain(note)}" for note in section.notes]
    return [*lines, "", "### Runs", "", *_runs(section), ""]


_TUNED_HEAD = {
    False: ["backdoor in-sample, worst case (%)"],
    True: [
        "backdoor in-sample, worst case, fixed (%)",
        "worst case, tuned (%)",
        "gain by tuning (points)",
        "budget of tuning",
    ],
}


def _defenses(section: Section) -> list[str]:
    head = [
        "rank",
        "defense",
        *_TUNED_HEAD[bool(section.tuned)],
        "held-out (%)",
        "lift (points)",
        "worst attack",
        "main, attacked (%)",
        "main, unattacked (%)",
        "honest cost (points)",
        "final in-sample / held-out / main (%)",
        "s / round",
        "seeds",
        "status",
    ]
    return _table(head, [_defense(row, section) for row in section.defense_rows])


def _defense(row: DefenseRow, section: Section) -> list[str]:
    worst = row.worst
    status = f"{row.status}: {row.reason}" if row.reason else row.status
    if row.flagged:
        status += f"; {row.flagged} runs below the gate"
    return [
        words.NOTHING if row.rank is None else str(row.rank),
        row.defense,
        interval(score(worst, "in_sample")),
        *([words.tuned(row), words.gain(row), words.budget(row)] if section.tuned else []),
        interval(score(worst, "held_out")),
        interval(score(worst, "lift"), signed=True),
        row.worst_attack or words.NOTHING,
        interval(score(worst, "main")),
        interval(score(row.unattacked, "main")),
        interval(score(worst, "cost"), signed=True),
        _final(worst),
        words.seconds(row.seconds),
        str(row.seeds),
        status,
    ]


def _tuned(section: Section) -> list[str]:
    head = [
        "defense",
        "study",
        "attacker",
        "in-sample (%)",
        "strongest fixed attack on the same seeds and users (%)",
        "gain (points)",
        "main accuracy lost (points)",
        "command",
    ]
    rows = []
    for defense, tuned in section.tuned:
        found = tuned.winner
        if found is None:
            rows.append([defense, tuned.report, words.NONE_FOUND, *[words.NOTHING] * 5])
            continue
        beside = words.NOTHING
        if found.fixed is not None:
            beside = f"{found.fixed_attack}: {interval(found.fixed)}"
        scores = [interval(found.in_sample), beside]
        scores += [interval(found.gain, signed=True), interval(found.cost, signed=True)]
        rows.append([defense, tuned.report, found.attack, *scores, found.command])
    return _table(head, rows)


def _final(cell: Cell | None) -> str:
    """Mean scores after the last round: in-sample / held-out / main."""
    if cell is None:
        return words.NOTHING
    finals = (cell.final_in_sample, cell.final_held_out, cell.final_main)
    return " / ".join(number(None if last is None else last.mean) for last in finals)


def _attacks(section: Section) -> list[str]:
    head = [
        "rank",
        "attack",
        "mean lift (points)",
        "in-sample, undefended (%)",
        "lift, undefended (points)",
        "most against",
        "least against",
        "succeeds on",
        "status",
    ]
    return _table(head, [_attack(row) for row in section.attack_rows])


def _attack(row: AttackRow) -> list[str]:
    return [
        words.NOTHING if row.rank is None else str(row.rank),
        row.attack,
        interval(row.lift, signed=True),
        interval(score(row.undefended, "in_sample")),
        interval(score(row.undefended, "lift"), signed=True),
        _against(row.worst_defense),
        _against(row.best_defense),
        f"{row.successes} of {row.defenses}",
        f"incomplete: {row.reason}" if row.reason else "ranked",
    ]


def _against(cell: Cell | None) -> str:
    """A defense and how far an attack gets into it."""
    if cell is None or cell.in_sample is None:
        return words.NOTHING
    return f"{cell.defense}: {number(cell.in_sample.mean)}"


def _matrix(section: Section, metric: str) -> list[str]:
    rows = []
    for defense in section.defenses:
        cells = [section.cell(attack, defense) for attack in section.attacks]
        rows.append([defense, *(_entry(c, getattr(c, metric)) for c in cells)])
    return _table(["defense", *section.attacks], rows)


def _entry(cell: Cell, value: Any) -> str:
    if not cell.runs:
        return "missing"
    return interval(value) + (f" ({len(cell.missing)} missing)" if cell.missing else "")


def _runs(section: Section) -> list[str]:
    head = ["attack", "defense", "seed", "record", "MLflow run", "command"]
    rows = []
    for cell in section.cells:
        for run in cell.runs:
            flag = " (below the gate)" if run.below_gate else ""
            rows.append(
                [
                    cell.attack + flag,
                    cell.defense,
                    str(run.seed),
                    run.record,
                    run.mlflow_run_id or "not tracked",
                    run.command,
                ]
            )
        rows += [[cell.attack, cell.defense, str(s), "missing", "", ""] for s in cell.missing]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    ruled = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_plain, row))} |" for row in ruled]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no emphasis, no end of a table's cell."""
    for character in "\\`*[]|$~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
