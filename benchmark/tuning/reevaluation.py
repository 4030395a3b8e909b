"""The best trials of a study on seeds and users that it never saw, beside untuned settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.results.statistics import Estimate, difference, estimate, mean
from benchmark.tuning.federated_problem import FederatedProblem, Judged
from benchmark.tuning.problem import Direction, FinishedTrial, Strategy

FRESH_FROM = 1000
"""The first seed of the re-evaluation; tuning counts from 0."""


@dataclass(frozen=True)
class Reevaluated(Judged):
    """A setting on fresh seeds, and where it comes from.

    Attributes:
        overrides: the setting.
        trial: the number of the trial that found it; None for a fixed one.
        found: its value on the tuning seeds, for a trial the best of many: optimistic.
    """

    overrides: tuple[str, ...] = ()
    trial: int | None = None
    found: float | None = None


@dataclass(frozen=True)
class Reevaluation:
    """What is known of a study's winner.

    Attributes:
        seeds: fresh ones.
        fixed: every choice as its yaml has it.
        candidates: the best feasible trials, by found value; the winner is the first of them
            that is feasible on fresh seeds too. It is not the best of them there: that would be
            a maximum again.
        direction: of backdoor accuracy.
    """

    seeds: list[int]
    fixed: list[Reevaluated]
    candidates: list[Reevaluated]
    direction: Direction = "maximize"

    @property
    def winner(self) -> Reevaluated | None:
        """The tuned setting."""
        return next((c for c in self.candidates if c.feasible), None)

    @property
    def strongest_fixed(self) -> Reevaluated | None:
        """The fixed setting to compare with: the best on the fresh seeds, in its favor."""
        better = max if self.direction == "maximize" else min
        feasible = [f for f in self.fixed if f.feasible]
        return better(feasible, key=lambda f: mean(f.backdoor)) if feasible else None

    def gain(self) -> Estimate | None:
        """The tuned setting less the strongest fixed one, paired by seed."""
        if self.winner is None or self.strongest_fixed is None:
            return None
        return estimate(difference(self.winner.backdoor, self.strongest_fixed.backdoor))


def best(
    tried: Sequence[FinishedTrial], count: int, directions: Sequence[Direction]
) -> list[FinishedTrial]:
    """The best feasible trials, each setting once; of equal ones the earlier.

    Of a front, points evenly along it, both ends first of all.
    """
    if len(directions) == 1:
        sign = -1 if directions[0] == "maximize" else 1
        return _unique(sorted(tried, key=lambda t: (sign * t.value, t.number)))[:count]
    found = front(tried, directions)
    if count >= len(found) or count == 1:
        return found[:count]
    return [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]


def front(tried: Sequence[FinishedTrial], directions: Sequence[Direction]) -> list[FinishedTrial]:
    """The undominated feasible trials, each setting once, by their first value."""
    trials = _unique(tried)
    flags = undominated([t.outcome.values for t in trials], directions)
    found = [t for t, flag in zip(trials, flags, strict=True) if flag]
    return sorted(found, key=lambda t: (t.outcome.values, t.number))


def _unique(tried: Sequence[FinishedTrial]) -> list[FinishedTrial]:
    """The feasible trials, each setting once."""
    kept: dict[tuple[str, ...], FinishedTrial] = {}
    for trial in tried:
        if trial.feasible:
            kept.setdefault(trial.overrides, trial)
    return list(kept.values())


def undominated(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[bool]:
    """For each point whether no other is at least as good in all and better in something.

    Args:
        points: values, one for each direction.
        directions: what is better.
    """
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    signed = [[s * x for s, x in zip(signs, point, strict=True)] for point in points]
    return [
        not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in signed)
        for p in signed
    ]


def reevaluate(
    problem: FederatedProblem,
    tried: Sequence[FinishedTrial],
    candidates: Sequence[FinishedTrial],
    seeds: Sequence[int],
) -> Reevaluation:
    """Run candidates and the fixed settings on fresh seeds.

    Args:
        problem: what was searched.
        tried: all finished trials.
        candidates: the best of them.
        seeds: disjoint from the problem's.
    """
    assert not set(seeds) & set(problem.seeds)
    known = {trial.known: trial.outcome.values[0] for trial in tried if trial.known}
    rows: list[tuple[Strategy, int | None, float | None]] = [
        *((f, None, known.get(f[0].partition("=")[2])) for f in problem.fixed()),
        *((t.overrides, t.number, t.outcome.values[0]) for t in candidates),
    ]
    again = [
        Reevaluated(**vars(judged), overrides=setting, trial=trial, found=found)
        for judged, (setting, trial, found) in zip(
            problem.judge([row[0] for row in rows], seeds), rows, strict=True
        )
    ]
    count = len(again) - len(candidates)
    return Reevaluation(list(seeds), again[:count], again[count:], problem.directions[0])
