"""A blend of an honest and a backdoor update, as far as the defense that is there lets it pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    AttackSetting,
    CompromisedClient,
    Knowledge,
    Reaction,
)
from benchmark.attacks.data_poisoning import DataPoisoning
from benchmark.attacks.neurotoxin import Neurotoxin
from benchmark.attacks.scaling import norms
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of

Base = Literal["data_poisoning", "neurotoxin"]
Value = Callable[[float], float]
"""How far the aggregate moves at a place of a line; minus infinity where nothing is accepted."""

GAIN = 1e-4
"""Of what is gained, relative: where a defense clips, rounding is no gain."""


class AdaptiveBlend(Attack):
    """Submits r_j (a Δ^m_j + (1 − a) Δ^b_j), with the a and r that move the aggregate farthest.

    Each of the M compromised has an honest update Δ^b and a backdoor update Δ^m. In every round a
    copy of the defense is asked what it makes of blends, of the same a and r for all M; taken is
    the one, of those tried, with the largest ⟨update, d⟩/‖d‖, d = Σ_j Δ^m_j, among those of which
    the defense accepts a part: some trust of the M is above 0, or it gives no trust. Bisected, at
    first tried at their far end, are

    1. a from 0 to 1, at r = 1: 7 blends;
    2. r from 1 to β_j, on a scale of powers of β_j, at the best a: 6;
    3. r from 0 to 1 at a = 1, where Δ^m itself was no gain: 6.

    That is a lower bound of what an attacker with this knowledge can do, deterministic and without
    a number to tune: the standard attacker against a defense, as AutoAttack is among adversarial
    examples. Where no blend moves the aggregate farther than honest updates do, those are sent.

    >>> from benchmark.testing import craft
    >>> lanes = [[[0.0, 1.0], [1.0, 0.0]]]
    >>> craft("adaptive_blend", lanes, honest=[[0.0, 1.0]] * 3, defense="mean")
    tensor([[4., 0.]])

    Args:
        base: which attack, with its defaults, makes Δ^m: ``data_poisoning`` or ``neurotoxin``.

    Raises:
        ValueError: an unknown ``base``.
    """

    paper = "this benchmark's own; bisection against a copy of the defense, as Zhuang et al. 2024"
    knowledge = Knowledge.DEFENSE
    cost = "2, and at most 20 aggregations a round"

    def __init__(self, base: Base = "data_poisoning"):
        super().__init__()
        name = one_of("base", Base, base)
        self.base: Attack = DataPoisoning() if name == "data_poisoning" else Neurotoxin()

    def setup(self, setting: AttackSetting) -> None:
        """The base's buffers."""
        super().setup(setting)
        self.base.setup(setting)

    def observe(self, round: int, theta: Tensor) -> None:
        """What the base sees."""
        self.base.observe(round, theta)

    def before_training(self, context: AttackContext) -> None:
        """What the base prepares."""
        self.base.before_training(context)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """An honest lane, and the base's."""
        return [client.honest_lane(), *self.base.lanes(client, backdoor, boost)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Ask the defense.

        Raises:
            ValueError: there is none to ask.
        """
        if context.simulate is None:
            raise ValueError("AdaptiveBlend asks the defense, and there is none to ask")
        plain = replace(context, boosts=torch.ones_like(context.boosts))
        honest, malicious = updates[:, 0], self.base.craft(updates[:, 1:], plain)
        blends = Blends(honest, malicious, context.boosts, context.simulate)
        if not blends.toward.any():
            return honest.clone()
        first = blends.value(0.0, 0.0)
        a, most = bisected(lambda a: blends.value(a, 0.0), (0.0, 1.0), first, 7)
        power, most = bisected(lambda p: blends.value(a, p), (0.0, 1.0), most, 6)
        if a < 1:
            share, farther = bisected(lambda s: blends.value(1.0, 0.0, s), (0.0, 1.0), most, 6)
            if farther > most:
                return share * malicious
        return blends.at(a, power)


class Blends:
    """What the compromised can submit, and what the defense makes of it.

    Attributes:
        toward: d/‖d‖ ``(P,)`` float64; 0 where no backdoor update goes anywhere.
    """

    def __init__(
        self,
        honest: Tensor,
        malicious: Tensor,
        boosts: Tensor,
        simulate: Callable[[Tensor], Reaction],
    ):
        self.honest, self.malicious, self.boosts = honest, malicious, boosts
        self.simulate = simulate
        total = malicious.double().sum(dim=0)
        length = norms(total[None])[0]
        self.toward = total / length if length > 0 else torch.zeros_like(total)

    def at(self, a: float, power: float, share: float = 1.0) -> Tensor:
        """Submissions ``(M, P)``, r_j = share · β_j^power."""
        blend = a * self.malicious + (1 - a) * self.honest
        return share * blend * (self.boosts**power).to(blend)[:, None]

    def value(self, a: float, power: float, share: float = 1.0) -> float:
        """How far the aggregate goes along d; −∞ where none of the compromised is accepted."""
        answer = self.simulate(self.at(a, power, share))
        if answer.trust is not None and not (answer.trust > 0).any():
            return -torch.inf
        return float(answer.update.double() @ self.toward)


def bisected(
    value: Value, between: tuple[float, float], known: float, trials: int
) -> tuple[float, float]:
    """Where on a line the largest value was found, and which; the far end is tried at first.

    Then the middle of what is left, which goes on above a place that is better than all before,
    else below it. It is over when the far end is best and the middle is not.

    >>> bisected(lambda x: x if x <= 0.3 else -1.0, (0.0, 1.0), 0.0, 7)
    (0.296875, 0.296875)

    Args:
        value: of a place.
        between: the near end, and the far one.
        known: the value that is to be exceeded, that of the near end or more.
        trials: how often ``value`` is asked.
    """
    (best, high), most = between, known
    low, at_end = best, value(high)
    if at_end > most + GAIN * abs(most):
        best, most = high, at_end
    for _ in range(trials - 1):
        middle = (low + high) / 2
        found = value(middle)
        if found > most + GAIN * abs(most):
            best, most, low = middle, found, middle
        elif best == between[1]:
            break
        else:
            high = middle
    return best, most
