"""A metric over the rounds of a run, and what is said of it in a few numbers.

A module of its own: a run's result depends on it, and not on how records are written and read.
"""

from dataclasses import dataclass, field

SECONDS = "cost/round_seconds"
"""How long a round took, where it is told with what was measured after it."""


@dataclass(frozen=True)
class Curve:
    """A metric over rounds: ``values[i]`` was measured after the server update of ``rounds[i]``.

    Rounds count from 0, as in the paper. A value that is no number (a model that collapsed) is
    None in a file.
    """

    rounds: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.rounds) != len(self.values):
            raise ValueError(f"has {len(self.rounds)} rounds and {len(self.values)} values")

    def add(self, round: int, value: float) -> None:
        """Append one measurement."""
        self.rounds.append(round)
        self.values.append(value)

    def points(self) -> dict[int, float]:
        """Round → value, of what is a number."""
        pairs = zip(self.rounds, self.values, strict=True)
        return {round: value for round, value in pairs if value is not None}


@dataclass(frozen=True)
class Summary:
    """One metric's curve in a few numbers; None where the run has no such round.

    Attributes:
        final: the last value.
        last_fifth: mean over the last fifth of the rounds.
        cumulative_mean: mean over all measured rounds (the paper's figures draw it).
        before_attack: mean over the rounds just before one with a compromised client.
        after_attack: mean over the rounds with a compromised client, measured after them.
    """

    final: float | None
    last_fifth: float | None
    cumulative_mean: float | None
    before_attack: float | None
    after_attack: float | None
