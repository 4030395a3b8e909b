"""What a study searches, and what a trial of it gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Metrics = Mapping[str, float]
"""What was measured in a round of a federation."""

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
