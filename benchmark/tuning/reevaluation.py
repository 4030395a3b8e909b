"""The best trials of a study on seeds that it never saw, beside the attacks that nobody tuned."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.leaderboard.statistics import Estimate, difference, estimate
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.federations import TOLERANCE, UNATTACKED, Score, mean
from benchmark.tuning.problem import Tried

FRESH_FROM = 1000
"""The first seed of the re-evaluation; tuning counts from 0."""


@dataclass(frozen=True)
class Reevaluated:
    """An attack on fresh seeds.

    Attributes:
        overrides: the attack.
        trial: the number of the trial that found it; None for a fixed attack.
        found: its value on the tuning seeds, for a trial the largest of many: optimistic.
        backdoor: by seed.
        cost: by seed, main accuracy without attack less that under it.
    """

    overrides: tuple[str, ...]
    trial: int | None
    found: float | None
    backdoor: dict[int, float]
    cost: dict[int, float]

    @property
    def feasible(self) -> bool:
        """Whether main accuracy holds on the fresh seeds too."""
        return mean(self.cost) <= TOLERANCE


@dataclass(frozen=True)
class Reevaluation:
    """What is known of a study's winner.

    Attributes:
        seeds: fresh ones.
        fixed: every attack as its yaml has it.
        candidates: the best feasible trials, by found value; the winner is the first of them
            that is feasible on fresh seeds too. It is not the best of them there: that would be
            a maximum again.
    """

    seeds: list[int]
    fixed: list[Reevaluated]
    candidates: list[Reevaluated]

    @property
    def winner(self) -> Reevaluated | None:
        """The tuned attack."""
        return next((c for c in self.candidates if c.feasible), None)

    @property
    def strongest_fixed(self) -> Reevaluated | None:
        """The fixed attack to compare with: the best on the fresh seeds, in its favor."""
        feasible = [f for f in self.fixed if f.feasible]
        return max(feasible, key=lambda f: mean(f.backdoor)) if feasible else None

    def gain(self) -> Estimate | None:
        """What tuning gained over the strongest fixed attack, paired by seed."""
        if self.winner is None or self.strongest_fixed is None:
            return None
        return estimate(difference(self.winner.backdoor, self.strongest_fixed.backdoor))


def best(tried: Sequence[Tried], count: int) -> list[Tried]:
    """The best feasible trials, each setting once; of equal ones the earlier."""
    kept: dict[tuple[str, ...], Tried] = {}
    for trial in sorted(tried, key=lambda t: (-t.value, t.number)):
        if trial.feasible:
            kept.setdefault(trial.overrides, trial)
    return list(kept.values())[:count]


def reevaluate(
    problem: Attacker, tried: Sequence[Tried], count: int, seeds: Sequence[int]
) -> Reevaluation:
    """Run the best ``count`` trials and the fixed attacks on fresh seeds.

    Args:
        problem: what was searched.
        tried: all finished trials.
        count: of candidates.
        seeds: disjoint from the problem's.
    """
    assert not set(seeds) & set(problem.seeds)
    honest = problem.federations.score(UNATTACKED, seeds)

    def again(attack: Sequence[str], trial: int | None, found: float | None) -> Reevaluated:
        score: Score = problem.federations.score(attack, seeds)
        cost = difference(honest.main, score.main)
        return Reevaluated(tuple(attack), trial, found, score.backdoor, cost)

    known = {trial.known: trial.value for trial in tried if trial.known}
    fixed = [again(a, None, known.get(a[0].partition("=")[2])) for a in problem.fixed()]
    found = [again(t.overrides, t.number, t.value) for t in best(tried, count)]
    return Reevaluation(list(seeds), fixed, found)
