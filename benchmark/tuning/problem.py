"""What a study searches, and what a trial of it gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from benchmark.config.search_space import Space
from benchmark.run.suite import Watch

OnStep = Callable[[int, float], None]
"""Told of a trial's value so far at a step, from 0; raises StoppedError if it is hopeless."""

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")
Direction = Literal["maximize", "minimize"]

Strategy = tuple[str, ...]
"""An attack or a defense, as overrides."""


@dataclass(frozen=True)
class Evaluation:
    """What a trial gave.

    Attributes:
        values: one for each direction of the problem.
        constraints: name → amount by which it is missed; feasible if none is above 0.
        facts: what a report wants to know besides.
    """

    values: tuple[float, ...]
    constraints: dict[str, float]
    facts: dict[str, Any]


class Problem(Protocol):
    """What a study searches: the attacker's problem, or a defense's."""

    @property
    def space(self) -> Space:
        """Where."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is better, for each value of an outcome; more than one give a Pareto front."""

    @property
    def steps(self) -> int:
        """How many steps a whole trial reports; 0 if it reports none."""

    def describe(self) -> dict[str, Any]:
        """What makes a study this one, as plain values."""

    def known(self) -> dict[str, dict[str, Any]]:
        """Settings to be tried first: name → a trial's parameters."""

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        """A choice, given as overrides, as a trial's parameters; None outside of the space."""

    def prepare(self, workers: int) -> None:
        """Do what all trials need, over as many processes."""

    def telling(self, watch: Watch) -> Self:
        """The same, whose federations somebody else is told of."""

    def evaluate(self, chosen: Sequence[str], report: OnStep) -> Evaluation:
        """Try a point of the space, given as overrides."""


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial, complete or pruned.

    Attributes:
        number: in the study; numbers of trials that were stopped are missing.
        overrides: the point.
        outcome: what it gave.
        known: the known setting that it was, if any.
        pruned: whether it was given up; its outcome is the value that it had reached.
        steps: that it took.
    """

    number: int
    overrides: tuple[str, ...]
    outcome: Evaluation
    known: str | None
    pruned: bool = False
    steps: int = 0

    @property
    def value(self) -> float:
        """What it gave, where that is one value."""
        (value,) = self.outcome.values
        return value

    @property
    def feasible(self) -> bool:
        """Whether all constraints hold; of a pruned trial nobody knows."""
        return not self.pruned and all(amount <= 0 for amount in self.outcome.constraints.values())
