"""The order of defenses and of attacks.

A defense is judged by the attack that gets most into it, tuned or not. Five kinds never get a rank:

- one whose model diverged, collapsed or fell below the gate: a broken model keeps any backdoor out;
- one at the gate, of which these seeds do not say whether it passes: with others it might be out,
  and then its rank and those of all below it would be luck. It is listed behind the ranked ones,
  with what it loses, and more seeds settle it. A single seed settles nothing, so it ranks nobody;
- one that lacks runs which others have: its worst case would be unearned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import fsum
from statistics import median
from typing import Any, TypeVar, get_args

from benchmark.config.ensemble import Ensemble
from benchmark.leaderboard.board import AttackRow, DefenseRow, Matchup, Status, counted, score
from benchmark.report.numbers import interval, number
from benchmark.results.gates import gate, has_collapsed, succeeds
from benchmark.results.searches import Tuned
from benchmark.results.statistics import Estimate, difference, estimate

Row = TypeVar("Row", AttackRow, DefenseRow)
BROKEN: tuple[Status, ...] = ("below the gate", "collapsed", "diverged")


def rank_defenses(
    cells: list[Matchup],
    unattacked: str | None,
    reference: Estimate | None,
    tuned: Mapping[str, Tuned],
    ensemble: Ensemble | None = None,
) -> list[DefenseRow]:
    """Lowest worst case first; below it, in the order of :data:`Status`, those without a rank.

    The worst case is over the attacks of the cells and the attacker tuned against the defense.

    Ties: lower held-out backdoor accuracy under that attack, then higher main accuracy without
    attack, then the name.
    """
    rows = [
        _defense_row([c for c in cells if c.defense == d], unattacked, reference, tuned.get(d))
        for d in dict.fromkeys(cell.defense for cell in cells)
    ]
    chosen = ensemble.attacks if ensemble else []
    rows = [
        replace(
            r,
            ensemble=_worst_of(
                [c for c in cells if c.defense == r.defense and c.attack in chosen], chosen
            ),
        )
        for r in rows
    ]
    return _numbered(rows, _defense_key)


def rank_attacks(
    cells: list[Matchup],
    unattacked: str | None,
    undefended: str | None,
    reference: Estimate | None,
) -> list[AttackRow]:
    """Highest mean lift first, attacks that lack runs last.

    Defenses whose model fails without any attack are left out: there is nothing to attack.
    Ties: higher lift against the undefended server, then the name.
    """
    plain = [c for c in cells if c.attack == unattacked and c.main and reference]
    sound = {c.defense: c for c in plain if _standing([c], unattacked, reference)[0] not in BROKEN}
    rows = [
        _attack_row([c for c in cells if c.attack == a], sound, undefended)
        for a in dict.fromkeys(cell.attack for cell in cells)
        if a != unattacked
    ]
    return _numbered(rows, _attack_key)


def _numbered(rows: list[Row], key: Callable[[Row], tuple[Any, ...]]) -> list[Row]:
    """In order; those that nothing speaks against have a rank."""
    ordered = sorted(rows, key=key)
    ranked = sum(not row.reason for row in rows)
    return [replace(r, rank=i + 1) if i < ranked else r for i, r in enumerate(ordered)]


def _mean(cell: Matchup | None, metric: str, otherwise: float) -> float:
    value = score(cell, metric)
    return otherwise if value is None else value.mean


def _defense_row(
    cells: list[Matchup], unattacked: str | None, reference: Estimate | None, tuned: Tuned | None
) -> DefenseRow:
    attacked = [c for c in cells if c.attack != unattacked and c.in_sample]
    status, reason = _standing(cells, unattacked, reference)
    runs = [run for cell in cells for run in cell.runs]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    return DefenseRow(
        rank=None,
        defense=cells[0].defense,
        status=status,
        reason=reason,
        worst=max(
            attacked,
            key=lambda c: (_mean(c, "in_sample", -1), _mean(c, "held_out", -1), c.attack),
            default=None,
        ),
        unattacked=next((c for c in cells if c.attack == unattacked), None),
        dearest=_dearest(cells),
        flagged=sum(run.below_gate for run in runs),
        diverged=sum(cell.diverged for cell in cells),
        all_rejected=sum(run.all_rejected or 0 for run in runs),
        missing=sum(len(c.missing) for c in cells),
        seconds=median(seconds) if seconds else None,
        seeds=min((len(c.runs) for c in cells if c.runs), default=0),
        tuned=tuned,
    )


def _worst_of(cells: list[Matchup], attacks: Sequence[str]) -> Estimate | None:
    """Seed by seed the highest of all attacks, each of which has every seed."""
    found = [_in_sample(cell) for cell in cells]
    if (
        len(cells) < len(attacks)
        or not found
        or any(map(set(found[0]).symmetric_difference, found))
    ):
        return None
    return estimate({seed: max(run[seed] for run in found) for seed in found[0]})


def _dearest(cells: list[Matchup]) -> Matchup | None:
    """The cell whose loss of main accuracy reaches highest: the last to pass the gate."""
    reach = {c.attack: c.loss.mean + (c.loss.half_width or 0) for c in cells if c.loss}
    judged = [c for c in cells if c.loss]
    return max(judged, key=lambda c: (reach[c.attack], c.attack), default=None)


def _standing(
    cells: list[Matchup], unattacked: str | None, reference: Estimate | None
) -> tuple[Status, str]:
    """A defense's status, and why it is not ranked."""
    if reference is None:
        return "incomplete", "no unattacked run of the undefended server, so no gate"
    usual = reference.mean

    def where(cell: Matchup) -> str:
        return "unattacked" if cell.attack == unattacked else f"under {cell.attack}"

    def lost(cell: Matchup) -> str:
        return f"loses {interval(cell.loss, signed=True).removeprefix('+')} points {where(cell)}"

    def first(failed: list[Matchup]) -> Matchup:
        # The unattacked run first: a defense that fails by itself should say so.
        return min(failed, key=lambda c: (c.attack != unattacked, _mean(c, "main", 0), c.attack))

    if diverged := [c for c in cells if c.diverged]:
        cell = first(diverged)
        return "diverged", f"{cell.diverged} of {counted(len(cell.runs), 'seed')} {where(cell)}"
    if collapsed := [c for c in cells if c.main and has_collapsed(c.main.mean, usual)]:
        cell = first(collapsed)
        return "collapsed", f"main accuracy {number(_mean(cell, 'main', 0))} % {where(cell)}"
    if failed := [c for c in cells if gate(c.loss) == "failed"]:
        return "below the gate", lost(first(failed))
    if lacking := [_lack(c) for c in cells if c.missing]:
        return "incomplete", f"not run: {'; '.join(lacking)}"
    if unmeasured := [c.attack for c in cells if c.runs and not (c.main and c.in_sample)]:
        return "incomplete", f"main or backdoor accuracy not measured under {', '.join(unmeasured)}"
    if all(c.attack == unattacked for c in cells):
        return "incomplete", "never attacked"
    if unsure := _dearest([c for c in cells if gate(c.loss) == "at the gate"]):
        is_alone = unsure.loss is None or unsure.loss.half_width is None
        return "at the gate", "one seed has no interval" if is_alone else lost(unsure)
    return "ranked", ""


def _lack(cell: Matchup) -> str:
    if not cell.runs:
        return cell.attack
    seeds = "seed" + "s" * (len(cell.missing) > 1)
    return f"{cell.attack} {seeds} {', '.join(map(str, cell.missing))}"


def _defense_key(row: DefenseRow) -> tuple[Any, ...]:
    return (
        get_args(Status).index(row.status),
        max(_mean(row.worst, "in_sample", 2), row.tuned.reached if row.tuned else -1),
        _mean(row.worst, "held_out", 2),
        -_mean(row.unattacked, "main", 0),
        row.defense,
    )


def _attack_row(
    cells: list[Matchup], sound: dict[str, Matchup], undefended: str | None
) -> AttackRow:
    faced = [c for c in cells if c.defense in sound]
    struck = sorted(
        (c for c in faced if c.in_sample), key=lambda c: (_mean(c, "in_sample", 0), c.defense)
    )
    lacking = sum(len(c.missing) for c in cells)
    reason = f"{counted(lacking, 'run')} missing" if lacking else ""
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
        successes=sum(succeeds(_mean(c, "in_sample", 0)) for c in struck),
        defenses=len(struck),
        diverged=sum(c.diverged for c in cells),
        missing=lacking,
    )


def _mean_lift(cells: list[Matchup], plain: dict[str, Matchup]) -> Estimate | None:
    """Over defenses seed by seed, then over the seeds that every defense has."""
    lifts = [difference(_in_sample(c), _in_sample(plain[c.defense])) for c in cells]
    seeds = set[int].intersection(*map(set, lifts)) if lifts else set()
    return estimate({s: fsum(lift[s] for lift in lifts) / len(lifts) for s in seeds})


def _in_sample(cell: Matchup) -> dict[int, float]:
    return {run.seed: run.in_sample for run in cell.runs if run.in_sample is not None}


def _attack_key(row: AttackRow) -> tuple[Any, ...]:
    lift = -2 if row.lift is None else row.lift.mean
    return (bool(row.reason), -lift, -_mean(row.undefended, "lift", -2), row.attack)
