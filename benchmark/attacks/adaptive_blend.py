"""A blend of an honest and a backdoor update, as far as the defense that is there lets it pass."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
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
from benchmark.attacks.boosted import Boosted
from benchmark.attacks.data_poisoning import DataPoisoning
from benchmark.attacks.neurotoxin import Neurotoxin
from benchmark.attacks.scaling import norms
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of

Base = Literal["boosted", "data_poisoning", "neurotoxin"]
Line = Callable[[float], Tensor]
"""Submissions ``(M, P)`` of a place from 0 to 1."""

GAIN = 1e-4
"""Of what is gained, relative: where a defense clips, rounding is no gain."""
QUESTIONS = 20
"""To the defense, in a round."""
_BASES: Mapping[Base, type[Attack]] = MappingProxyType(
    {"boosted": Boosted, "data_poisoning": DataPoisoning, "neurotoxin": Neurotoxin}
)


class AdaptiveBlend(Attack):
    """Submits the blend r_j (a Δ^m_j + (1 − a) Δ^b_j) that moves the aggregate farthest.

    Each of the M compromised has an honest update Δ^b and a backdoor update Δ^m. In every round a
    copy of the defense is asked what it makes of blends, of the same a and r for all M, at most 20
    times; taken is that of the largest ⟨update, d⟩/‖d‖, d = Σ_j Δ^m_j, among those of which the
    defense accepts a part: some trust of the M is above 0, or it gives no trust. Bisected are

    1. a, with each client's own Δ^b, r = 1;
    2. where Δ^m itself is not the best of them, a, with the mean of the honest clients' for Δ^b;
    3. there too, r from 0 to 1 at a = 1;
    4. with the questions left, r from there: up to β_j, or between what 3 found and its next.

    That is a lower bound of what an attacker with this knowledge can do, deterministic and without
    a number to tune: the standard attacker against a defense, as AutoAttack is among adversarial
    examples. Where no blend moves the aggregate farther than honest updates do, those are sent.

    >>> from benchmark.testing import craft
    >>> lanes = [[[0.0, 1.0], [1.0, 0.0]]]
    >>> craft("adaptive_blend", lanes, honest=[[0.0, 1.0]] * 3, defense="mean")
    tensor([[4., 0.]])

    Args:
        base: which attack, with its defaults but for boosting, makes Δ^m: ``boosted`` (local data
            and D_mal), ``data_poisoning`` or ``neurotoxin``.

    Raises:
        ValueError: an unknown ``base``.
    """

    paper = "this benchmark's own; bisection against a copy of the defense, as Zhuang et al. 2024"
    knowledge = Knowledge.DEFENSE
    cost = "1 and its base's, and at most 20 aggregations a round"

    def __init__(self, base: Base = "boosted"):
        super().__init__()
        name = one_of("base", Base, base)
        self.base: Attack = _BASES[name]()

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
        search = BlendSearch(context.simulate, malicious, honest)
        if not search.toward.any():
            return honest.clone()
        a = search.along(lambda a: a * malicious + (1 - a) * honest, 5, near=search.start)
        shorter = 0.0
        if a < 1:
            others = context.honest_updates
            mean = (honest if others is None or not len(others) else others).mean(dim=0)
            search.along(lambda a: a * malicious + (1 - a) * mean, 5, knows_far=True)
            shorter = search.along(lambda r: r * malicious, 5, knows_far=True)
        best, boosts = search.rows, context.boosts.to(honest)[:, None]
        if shorter:
            step = 2.0**-5 / shorter  # where the next of 5 halvings lies
            search.along(lambda x: best * (1 + x * step), QUESTIONS, search.most, knows_far=True)
        else:
            search.along(lambda x: best * boosts**x, QUESTIONS, search.most)
        return search.rows.clone()


class BlendSearch:
    """The best submission that was found, and how many questions are left.

    Args:
        simulate: the defense.
        malicious: ``(M, P)``, whose sum is the direction d.
        honest: ``(M, P)``, what is submitted where nothing is better.

    Attributes:
        toward: d/‖d‖ ``(P,)`` float64; 0 where no backdoor update goes anywhere.
        start: how far honest updates move the aggregate; minus infinity where not accepted.
        rows: ``(M, P)``, the best.
        most: how far it moves the aggregate along d.
    """

    def __init__(self, simulate: Callable[[Tensor], Reaction], malicious: Tensor, honest: Tensor):
        total = malicious.double().sum(dim=0)
        length = norms(total[None])[0]
        self.toward = total / length if length > 0 else torch.zeros_like(total)
        self.simulate, self.left, self.rows = simulate, QUESTIONS, honest
        self.most, is_accepted = self._asked(honest)
        self.start = self.most if is_accepted else -torch.inf

    def along(
        self, line: Line, questions: int, near: float = -torch.inf, knows_far: bool = False
    ) -> float:
        """Bisect a line, and say where the best of it lies; 0 where nothing on it is the best.

        The far end is tried at first. Then the middle of what is left, above which it goes on
        where that is accepted and more than at the end below it, else below. It is over where the
        far end is the best and the middle is not.

        Args:
            line: from 0 to 1.
            questions: how many, at most.
            near: how far the aggregate goes at 0; minus infinity where that is not accepted.
            knows_far: the far end is known to be no gain, and not asked.
        """
        low, high, best = 0.0, 1.0, 0.0
        for number in range(min(questions, self.left)):
            x = (low + high) / 2 if number or knows_far else 1.0
            rows = line(x)
            moved, is_accepted = self._asked(rows)
            gains = is_accepted and moved > self.most + GAIN * abs(self.most)
            if gains:
                self.rows, self.most, best = rows, moved, x
            elif best == 1:
                break
            if x < 1 and is_accepted and moved > near:
                low, near = x, moved
            elif x < 1:
                high = x
        return best

    def _asked(self, rows: Tensor) -> tuple[float, bool]:
        """How far the aggregate goes along d, and whether some of the M are accepted."""
        self.left -= 1
        answer = self.simulate(rows)
        is_accepted = answer.trust is None or bool((answer.trust > 0).any())
        return float(answer.update.double() @ self.toward), is_accepted
