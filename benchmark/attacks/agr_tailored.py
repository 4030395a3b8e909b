"""The strongest of known directions against the defense that is there, which is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, Knowledge, Reaction
from benchmark.attacks.colluding import Colluding, Known, moments
from benchmark.attacks.deviation import halved
from benchmark.utils.checks import at_least, one_of

Along = Literal["best", "std", "unit", "sign"]
Objective = Literal["deviation", "accepted"]

GAIN = 1e-4
"""Of a deviation, relative: what is less does not count."""


class AgrTailored(Colluding):
    """All submit m = μ + γ p, with the γ whose aggregate lies farthest from μ, by simulation.

    p is −σ (ALIE and Min-Max), −μ (IPM) or −‖μ‖/√n sign μ (n coordinates that are not 0); ``best``
    tries all. From γ = 0 it goes on by 1, 2, 4, … while that gains, then back and forth by steps
    that shrink by 0.8. ``accepted`` takes instead, of the same search as Min-Max's code, the
    largest γ at which all compromised are accepted, or one is the aggregate itself (Krum); of a
    defense that judges nobody it takes the deviation all the same.

    Args:
        direction: ``best``, ``std``, ``unit`` or ``sign``.
        objective: ``deviation`` of the aggregate, or the largest γ that is ``accepted``, where
            the defense accepts and rejects.
        evaluations: simulated aggregations for each direction of ``deviation``, 5 to 50.
        known: as :class:`benchmark.attacks.colluding.Colluding`.

    Raises:
        ValueError: an unknown choice, or ``evaluations`` below 1.
    """

    paper = "Shejwalkar and Houmansadr 2021, NDSS, section 4; line search of Allouah et al. 2023"
    knowledge = Knowledge.DEFENSE
    cost = "1, and 60 aggregations a round"

    def __init__(
        self,
        direction: Along = "best",
        objective: Objective = "deviation",
        evaluations: int = 20,
        known: Known = "honest",
    ):
        super().__init__(known)
        self.direction = one_of("direction", Along, direction)
        self.objective = one_of("objective", Objective, objective)
        self.evaluations = at_least("evaluations", 1, evaluations)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Ask the defense.

        Raises:
            ValueError: there is none to ask.
        """
        if context.simulate is None:
            raise ValueError("AgrTailored asks the defense, and there is none to ask")
        center, spread = moments(rows)
        found, most = center, 0.0
        for toward in self._directions(center, spread):
            trial = Simulated(center, toward, updates, context.simulate)
            if self.objective == "deviation" or not trial.is_judged():
                gamma, value = maximized(trial.deviation, self.evaluations)
            else:
                gamma = halved(trial.is_accepted)
                value = gamma * float(toward.norm())
            if gains(value, most):
                found, most = trial.at(gamma), value
        return found

    def _directions(self, center: Tensor, spread: Tensor) -> list[Tensor]:
        sign = center.sign()
        level = center.norm() / sign.norm().clamp(min=1)
        known = {"std": -spread, "unit": -center, "sign": -level * sign}
        return list(known.values()) if self.direction == "best" else [known[self.direction]]


@dataclass(frozen=True)
class Simulated:
    """What a defense makes of μ + γ p, submitted by all compromised.

    Attributes:
        center, toward: μ and p, ``(P,)``.
        updates: ``(M, P)``, whose shape and precision submissions have.
        simulate: the defense.
    """

    center: Tensor
    toward: Tensor
    updates: Tensor
    simulate: Callable[[Tensor], Reaction]

    def at(self, gamma: float) -> Tensor:
        """μ + γ p."""
        return (self.center + gamma * self.toward).to(self.updates)

    def deviation(self, gamma: float) -> float:
        """How far from μ the aggregate lies."""
        answer = self.simulate(self.at(gamma).expand_as(self.updates))
        return float(torch.dist(answer.update.double(), self.center))

    def is_judged(self) -> bool:
        """Whether the defense accepts and rejects clients."""
        return self.simulate(self.updates).trust is not None

    def is_accepted(self, gamma: float) -> bool:
        """Whether the defense keeps all of them, or takes what they sent as it is."""
        row = self.at(gamma)
        answer = self.simulate(row.expand_as(self.updates))
        judged = answer.trust
        return judged is None or bool((judged > 0).all()) or torch.equal(answer.update, row)


def gains(value: float, most: float) -> bool:
    """Whether it is larger by more than rounding, which goes on where a defense clips."""
    return value > most + GAIN * abs(most)


def maximized(value: Callable[[float], float], evaluations: int) -> tuple[float, float]:
    """Where a function of γ ≥ 0 is largest, of those tried, and how large.

    >>> maximized(lambda gamma: 5 - abs(gamma - 3), 6)
    (3.0, 5.0)
    """
    best, most, step, is_growing = 0.0, value(0.0), 1.0, True
    tried = best
    for _ in range(evaluations - 1):
        if is_growing or tried < best:
            tried = (best if is_growing else tried) + step
        else:
            tried = tried - step if step <= tried else tried / 2
        found = value(tried)
        if gains(found, most):
            best, most = tried, found
        elif is_growing:
            is_growing = False
        step *= 2 if is_growing else 0.8
    return best, most
