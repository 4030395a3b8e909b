"""The order of defenses and of attacks.

A defense is judged by the attack that gets most into it, tuned or not. Three kinds never get a
rank: one whose model has collapsed or fallen below the gate (a broken model keeps any backdoor
out), and one that lacks runs which others have (its worst case would be unearned).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import fsum
from statistics import median
from typing import Any

from benchmark.leaderboard.board import AttackRow, DefenseRow, Matchup, Status
from benchmark.results.gates import has_collapsed, is_below_gate, succeeds
from benchmark.results.searches import Tuned
from benchmark.results.statistics import Estimate, difference, estimate

_ORDER: tuple[Status, ...] = ("ranked", "incomplete", "below the gate", "collapsed")


def rank_defenses(
    cells: list[Matchup],
    unattacked: str | None,
    reference: Estimate | None,
    tuned: Mapping[str, Tuned],
) -> list[DefenseRow]:
    """Lowest worst case first; below it the incomplete, those below the gate, the collapsed.

    The worst case is over the attacks of the cells and the attacker tuned against the defense.

    Ties: lower held-out backdoor accuracy under that attack, then higher main accuracy without
    attack, then the name.
    """
    rows = [_defense_row(own, unattacked, reference) for own in _grouped(cells, "defense")]
    rows = [replace(row, tuned=tuned.get(row.defense)) for row in rows]
    rows.sort(key=_defense_key)
    ranked = sum(row.status == "ranked" for row in rows)
    return [replace(r, rank=i + 1) if i < ranked else r for i, r in enumerate(rows)]


def rank_attacks(
    cells: list[Matchup],
    unattacked: str | None,
    undefended: str | None,
    reference: Estimate | None,
) -> list[AttackRow]:
    """Highest mean lift first, attacks that lack runs last.

    Defenses that are below the gate without any attack are left out: there is no model to attack.
    Ties: higher lift against the undefended server, then the name.
    """
    sound = {
        c.defense: c
        for c in cells
        if c.attack == unattacked
        and c.main
        and reference
        and not is_below_gate(c.main.mean, reference.mean)
    }
    rows = [
        _attack_row(own, sound, undefended)
        for own in _grouped(cells, "attack")
        if own[0].attack != unattacked
    ]
    rows.sort(key=_attack_key)
    complete = sum(not row.reason for row in rows)
    return [replace(r, rank=i + 1) if i < complete else r for i, r in enumerate(rows)]


def _grouped(cells: list[Matchup], by: str) -> list[list[Matchup]]:
    groups: dict[str, list[Matchup]] = defaultdict(list)
    for cell in cells:
        groups[getattr(cell, by)].append(cell)
    return list(groups.values())


def _mean(value: Estimate | None, otherwise: float) -> float:
    return otherwise if value is None else value.mean


def _defense_row(
    cells: list[Matchup], unattacked: str | None, reference: Estimate | None
) -> DefenseRow:
    attacked = [c for c in cells if c.attack != unattacked and c.in_sample]
    worst = max(
        attacked,
        key=lambda c: (_mean(c.in_sample, -1), _mean(c.held_out, -1), c.attack),
        default=None,
    )
    status, reason = _status(cells, attacked, unattacked, reference)
    seconds = [c.seconds for c in cells if c.seconds is not None]
    return DefenseRow(
        rank=None,
        defense=cells[0].defense,
        status=status,
        reason=reason,
        worst_attack=worst.attack if worst else None,
        worst=worst,
        unattacked=next((c for c in cells if c.attack == unattacked), None),
        flagged=sum(run.below_gate for c in cells for run in c.runs),
        missing=sum(len(c.missing) for c in cells),
        seconds=median(seconds) if seconds else None,
        seeds=min((len(c.runs) for c in cells if c.runs), default=0),
    )


def _status(
    cells: list[Matchup],
    attacked: list[Matchup],
    unattacked: str | None,
    reference: Estimate | None,
) -> tuple[Status, str]:
    if reference is None:
        return "incomplete", "no unattacked run of the undefended server, so no gate"
    gates: tuple[tuple[Status, Callable[[float, float], bool]], ...] = (
        ("collapsed", has_collapsed),
        ("below the gate", is_below_gate),
    )
    for status, is_failed in gates:
        # the unattacked run first: a defense that fails by itself should say so
        failed = [
            (c.attack != unattacked, c.main.mean, c.attack)
            for c in cells
            if c.main and is_failed(c.main.mean, reference.mean)
        ]
        if failed:
            under_attack, lowest, attack = min(failed)
            where = f"under {attack}" if under_attack else "even unattacked"
            return status, f"main accuracy {100 * lowest:.1f} % {where}"
    lacking = [_lack(c) for c in cells if c.missing]
    unmeasured = [c.attack for c in cells if c.runs and not (c.main and c.in_sample)]
    if lacking:
        return "incomplete", f"not run: {'; '.join(lacking)}"
    if unmeasured:
        return "incomplete", f"main or backdoor accuracy not measured under {', '.join(unmeasured)}"
    if not attacked:
        return "incomplete", "never attacked"
    return "ranked", ""


def _lack(cell: Matchup) -> str:
    if not cell.runs:
        return cell.attack
    plural = "seeds" if len(cell.missing) > 1 else "seed"
    return f"{cell.attack} {plural} {', '.join(map(str, cell.missing))}"


def _defense_key(row: DefenseRow) -> tuple[Any, ...]:
    worst, plain = row.worst, row.unattacked
    return (
        _ORDER.index(row.status),
        max(_mean(worst.in_sample if worst else None, 2), row.tuned.reached if row.tuned else -1),
        _mean(worst.held_out if worst else None, 2),
        -_mean(plain.main if plain else None, 0),
        row.defense,
    )


def _attack_row(
    cells: list[Matchup], sound: dict[str, Matchup], undefended: str | None
) -> AttackRow:
    faced = [c for c in cells if c.defense in sound]
    struck = sorted((c for c in faced if c.in_sample), key=lambda c: (_success(c), c.defense))
    lacking = sum(len(c.missing) for c in cells)
    reason = f"{lacking} {'run' if lacking == 1 else 'runs'} missing" if lacking else ""
    if not lacking and not (faced and all(c.lift for c in faced)):
        reason = "lift not measured on every defense"
    return AttackRow(
        rank=None,
        attack=cells[0].attack,
        reason=reason,
        lift=_mean_lift(struck, sound),
        undefended=next((c for c in cells if c.defense == undefended and c.runs), None),
        best_defense=struck[0] if struck else None,
        worst_defense=struck[-1] if struck else None,
        successes=sum(succeeds(_success(c)) for c in struck),
        defenses=len(struck),
        missing=lacking,
    )


def _success(cell: Matchup) -> float:
    return _mean(cell.in_sample, 0)


def _mean_lift(cells: list[Matchup], plain: dict[str, Matchup]) -> Estimate | None:
    """Over defenses seed by seed, then over the seeds that every defense has."""
    lifts = [difference(_in_sample(c), _in_sample(plain[c.defense])) for c in cells]
    seeds = set[int].intersection(*map(set, lifts)) if lifts else set()
    return estimate({s: fsum(lift[s] for lift in lifts) / len(lifts) for s in seeds})


def _in_sample(cell: Matchup) -> dict[int, float]:
    return {run.seed: run.in_sample for run in cell.runs if run.in_sample is not None}


def _attack_key(row: AttackRow) -> tuple[Any, ...]:
    undefended = row.undefended.lift if row.undefended else None
    return (bool(row.reason), -_mean(row.lift, -2), -_mean(undefended, -2), row.attack)
