"""What is told of a trial's rounds while they run."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmark.run.record import Curve

OnRound = Callable[[int, dict[str, float]], None]
"""Told of every round of a trial, counted over its federations, with the round's metrics; of
those that a record or a checkpoint holds, too."""


def untold(round: int, metrics: dict[str, float]) -> None:
    """Tell nobody."""


@dataclass
class Told:
    """Tells of a federation's rounds in order, each once, whether they run now or ran before.

    Args:
        on_round: is told.
        first: rounds of the trial's federations before this one.
    """

    on_round: OnRound
    first: int
    next: int = 0

    def now(self, round: int, metrics: dict[str, float]) -> None:
        """A round that has just run."""
        self.next = round + 1
        self.on_round(self.first + round, metrics)

    def earlier(self, curves: Mapping[str, Curve], until: int) -> None:
        """Those before ``until`` that were not told of yet, from the curves of all metrics."""
        metrics = defaultdict[int, dict[str, float]](dict)
        for name, curve in curves.items():
            for round, value in curve.points().items():
                metrics[round][name] = value
        for round in range(self.next, until):
            self.now(round, metrics[round])


@dataclass
class SoFar:
    """Reports, round by round, the mean over federations of backdoor accuracy over the last fifth.

    Of the federation that runs that is the last fifth of its rounds so far; at a trial's end it
    is the mean of :attr:`SeedScores.backdoor`. In a federation's first quarter nothing is
    reported: a model that has learned nothing may well take every seven for a one.

    Args:
        rounds: of each federation.
        report: is told.
    """

    rounds: int
    report: Callable[[int, float], None]
    values: dict[int, list[float]] = field(default_factory=dict)

    def __call__(self, round: int, metrics: dict[str, float]) -> None:
        """Take a round up."""
        current = round // self.rounds
        self.values.setdefault(current, []).append(metrics["backdoor_in_sample"])
        if 4 * len(self.values[current]) <= self.rounds:
            return
        fifths = 0.0
        for number, values in self.values.items():
            # One that diverged is worth nothing.
            if number == current or len(values) == self.rounds:
                last = values[len(values) // -5 :]
                fifths += sum(last) / len(last)
        self.report(round, fifths / (current + 1))
