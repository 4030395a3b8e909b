"""What holds for every rule on updates, in one place: see the rules below it."""

from abc import abstractmethod
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseContext, DefenseSetting
from benchmark.defenses.blocks import row_norms
from benchmark.defenses.submissions import Submissions, nobody
from benchmark.utils.checks import one_of

Weights = Literal["refuse", "ignore"]
LONGEST = 1e150
"""Of a row: products of longer ones are infinite in float64, and it is taken as not finite."""


class Rule(Defense):
    """A rule that makes one update of finite ones.

    1. Rows that are not finite, or too long for float64, are dropped before anything else: trust
       0, and each lowers f by one, not below 0, so that no bound on the cohort is broken by them.
    2. Too few clients are refused, at the start and in the round; there is no other rule to fall
       back on.
    3. Nobody left: the update is 0, every trust 0 and ``all_rejected`` 1.
    4. A rule that has no place for weights refuses those that are not uniform.
    5. Of clients that tie, the one of the lowest index.

    Args:
        assumed_compromised: f, a count in each cohort, from 0.
        weights: what becomes of weights that are not uniform where the rule has no place for
            them: ``refuse``, or ``ignore``.

    Raises:
        ValueError: ``assumed_compromised`` is negative, or an unknown ``weights``.
    """

    is_weighted = False

    def __init__(self, assumed_compromised: int = 0, weights: Weights = "refuse"):
        super().__init__()
        if assumed_compromised < 0:
            raise ValueError(f"assumed_compromised must be 0 or more, got {assumed_compromised}")
        self.assumed_compromised = assumed_compromised
        self.weights = one_of("weights", Weights, weights)

    @abstractmethod
    def combine(self, received: Submissions) -> Aggregation:
        """One update from finite ones, at least :meth:`min_clients` of them.

        The trust it gives is ``(n,)``, of those that are there.
        """

    def setup(self, setting: DefenseSetting) -> None:
        """Refuse weights that the rule cannot honor.

        Raises:
            ValueError: says so.
        """
        super().setup(setting)
        if setting.weighting != "uniform":
            self._check_weights(torch.tensor([0.0, 1.0]))

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """See :class:`Defense`; what holds for every rule, then :meth:`combine`.

        Raises:
            ValueError: there are too few clients, or weights that the rule cannot honor.
        """
        finite, received = self.received(updates, weights, context)
        n, f = len(received), received.f
        if n == 0:
            return self.nothing(updates, context)
        if n < self.min_clients(f):
            raise ValueError(
                f"{type(self).__name__} needs {self.min_clients(f)} clients or more for "
                f"assumed_compromised = {f}, got {n}"
            )
        result = self.combine(received)
        if n == len(updates):
            return result
        trust = updates.new_zeros(len(updates))
        trust[finite] = updates.new_ones(n) if result.trust is None else result.trust
        return self.dropping(replace(result, trust=None), trust, n)

    def received(
        self, updates: Tensor, weights: Tensor, context: DefenseContext
    ) -> tuple[Tensor, Submissions]:
        """Who sent what is finite, ``(K,)`` bool, and what they sent: of nobody, maybe.

        Raises:
            ValueError: the rule cannot honor the weights.
        """
        self._check_weights(weights)
        workers = self.threads(updates)
        norms = self.lengths(updates, workers)
        finite = norms < LONGEST
        n = int(finite.sum())
        f = max(self.assumed_compromised - (len(updates) - n), 0)
        if n == len(updates):
            sent = Submissions(updates, weights, context.clients, f, context, workers, norms)
            return finite, sent
        kept = weights[finite]
        total = kept.sum()
        kept = kept / total if total > 0 else torch.full_like(kept, 1 / max(n, 1))
        clients = context.clients[finite]
        sent = Submissions(updates[finite], kept, clients, f, context, workers, norms[finite])
        return finite, sent

    def lengths(self, updates: Tensor, workers: int) -> Tensor:
        """‖Δ_k‖, ``(K,)`` float64; of a rule that measures from elsewhere, from there."""
        return row_norms(updates, workers)

    def nothing(self, updates: Tensor, context: DefenseContext) -> Aggregation:
        """Of a cohort in which nobody sent what is finite: the model stays as it is."""
        return nobody(updates, not_finite=len(updates))

    def dropping(self, result: Aggregation, trust: Tensor, n: int) -> Aggregation:
        """With the ``trust`` ``(K,)`` of all, of whom n sent what is finite."""
        dropped = torch.tensor(float(len(trust) - n), dtype=torch.float64)
        kept = trust if result.trust is None else result.trust
        return replace(result, trust=kept, info={**result.info, "not_finite": dropped})

    def _check_weights(self, weights: Tensor) -> None:
        uneven = weights.max() - weights.min() > 1e-6 * weights.max()
        if uneven and not self.is_weighted and self.weights == "refuse":
            raise ValueError(
                f"{type(self).__name__} has no place for weights, and these are not uniform; "
                "federation.weighting=uniform, or weights=ignore"
            )


class MajorityRule(Rule):
    """A rule that bears any minority. Needs n ≥ 2f + 1.

    Args:
        assumed_compromised: f.
        weights: as :class:`Rule`.
    """

    def __init__(self, assumed_compromised: int = 1, weights: Weights = "refuse"):
        super().__init__(assumed_compromised, weights)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """2f + 1."""
        return 2 * assumed_compromised + 1
