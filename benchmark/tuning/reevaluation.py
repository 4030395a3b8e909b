"""The best trials of a study on seeds and users that it never saw, beside untuned settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.results.statistics import Estimate, difference, estimate, mean
from benchmark.tuning.federated_problem import FederatedProblem, Judged
from benchmark.tuning.problem import Direction, FinishedTrial

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
    tried: Sequence[FinishedTrial], count: int, direction: Direction = "maximize"
) -> list[FinishedTrial]:
    """The best feasible trials, each setting once; of equal ones the earlier."""
    sign = -1 if direction == "maximize" else 1
    kept: dict[tuple[str, ...], FinishedTrial] = {}
    for trial in sorted(tried, key=lambda t: (sign * t.value, t.number)):
        if trial.feasible:
            kept.setdefault(trial.overrides, trial)
    return list(kept.values())[:count]


def undominated(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[bool]:
    """For each point whether no other is at least as good in all and better in something.

    Args:
        points: values, one for each direction.
        directions: what is better.
    """
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    signed = [[s * x for s, x in zip(signs, point, strict=True)] for point in points]
    return [not any(_dominates(q, p) for q in signed) for p in signed]


def _dominates(q: Sequence[float], p: Sequence[float]) -> bool:
    return q != p and all(a <= b for a, b in zip(q, p, strict=True))


def front(tried: Sequence[FinishedTrial], directions: Sequence[Direction]) -> list[FinishedTrial]:
    """The undominated feasible trials, each setting once, by their first value."""
    kept: dict[tuple[str, ...], FinishedTrial] = {}
    for trial in tried:
        if trial.feasible:
            kept.setdefault(trial.overrides, trial)
    trials = list(kept.values())
    flags = undominated([t.outcome.values for t in trials], directions)
    found = [t for t, flag in zip(trials, flags, strict=True) if flag]
    return sorted(found, key=lambda t: (t.outcome.values, t.number))


def spread(found: Sequence[FinishedTrial], count: int) -> list[FinishedTrial]:
    """At most ``count`` points of a front, evenly along it, both ends first of all."""
    last = len(found) - 1
    if count >= len(found):
        return list(found)
    if count == 1:
        return [found[0]]
    return [found[round(i * last / (count - 1))] for i in range(count)]


def reevaluate(
    problem: FederatedProblem,
    tried: Sequence[FinishedTrial],
    candidates: Sequence[FinishedTrial],
    seeds: Sequence[int],
    workers: int = 1,
) -> Reevaluation:
    """Run candidates and the fixed settings on fresh seeds.

    Args:
        problem: what was searched.
        tried: all finished trials.
        candidates: the best of them.
        seeds: disjoint from the problem's.
        workers: federations at a time.
    """
    assert not set(seeds) & set(problem.seeds)
    settings = [*problem.fixed(), *(t.overrides for t in candidates)]
    problem.judge_ahead(settings, seeds, workers)

    def again(setting: Sequence[str], trial: int | None, found: float | None) -> Reevaluated:
        judged = problem.judge(setting, seeds)
        return Reevaluated(**vars(judged), overrides=tuple(setting), trial=trial, found=found)

    known = {trial.known: trial.outcome.values[0] for trial in tried if trial.known}
    fixed = [again(f, None, known.get(f[0].partition("=")[2])) for f in problem.fixed()]
    found = [again(t.overrides, t.number, t.outcome.values[0]) for t in candidates]
    return Reevaluation(list(seeds), fixed, found, problem.directions[0])
