"""What a defense is, and the parts that defenses are composed of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DefenseContext:
    """What the server knows in a round. It never knows who is compromised.

    Attributes:
        round, seed: which round of which run.
        theta: the global model ``(P,)`` before the round.
        clients: ``(K,)`` identities, for defenses that keep a history for each client.
        layers: where each parameter lies in a flat update.
    """

    round: int
    seed: int
    theta: Tensor
    clients: Tensor
    layers: Mapping[str, slice]


@dataclass(frozen=True)
class Aggregation:
    """What the server makes of the updates.

    Attributes:
        update: ``(P,)``; the server optimizer sees its negative as the pseudo-gradient.
        trust: ``(K,)`` in [0, 1], the share of its weight that each client kept; 0 is rejected.
            None where the defense judges no client.
        info: what the defense saw, scalars by name; they become metrics.
    """

    update: Tensor
    trust: Tensor | None = None
    info: dict[str, Tensor] = field(default_factory=dict)


class Defense(nn.Module, ABC):
    """What the server does with the updates. A module, so that its buffers are saved.

    Attributes:
        paper: where the defense comes from.
        permutation_invariant: whether the order of the clients is irrelevant.
        needs_root_data: whether the server needs clean data of its own.
    """

    paper: ClassVar[str]
    permutation_invariant: ClassVar[bool] = True
    needs_root_data: ClassVar[bool] = False

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """The smallest cohort that the defense is defined for."""
        return 1

    @abstractmethod
    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """Turn client updates into one.

        Args:
            updates: ``(K, P)``, local − global. The server received them as they are: nothing
                in them can be trusted.
            weights: ``(K,)``, sum 1; the protocol's aggregation weights (uniform or n_k/n).
            context: what else the server knows.

        Memory: beside ``updates`` at most a second ``(K, P)`` unless a defense says otherwise.
        """

    def after_round(self, theta: Tensor) -> Tensor:
        """What the server does with the new global model ``(P,)``; by default nothing."""
        return theta


@dataclass(frozen=True)
class Received:
    """The updates on their way to the average.

    Attributes:
        updates: ``(K, P)``.
        weights: ``(K,)``, sum 1, or all 0 where everybody is rejected.
        trust, info: as in :class:`Aggregation`.
    """

    updates: Tensor
    weights: Tensor
    trust: Tensor | None = None
    info: dict[str, Tensor] = field(default_factory=dict)

    def keeping(self, kept: Tensor) -> "Received":
        """Without the clients where ``kept`` ``(K,)`` bool is False; the rest weighs 1 again."""
        weights = self.weights * kept
        total = weights.sum()
        trust = kept.to(self.updates.dtype)
        return replace(
            self,
            weights=weights / total if total > 0 else weights,
            trust=trust if self.trust is None else self.trust * trust,
        )

    def saw(self, name: str, value: Tensor) -> "Received":
        """With one more scalar in ``info``."""
        return replace(self, info={**self.info, name: value})


class Before(nn.Module, ABC):
    """A step on the updates before they are averaged."""

    @abstractmethod
    def forward(self, received: Received, context: DefenseContext) -> Received:
        """What goes on to the next step."""


class After(nn.Module, ABC):
    """A step on the average."""

    @abstractmethod
    def forward(self, update: Tensor, num_clients: int, context: DefenseContext) -> Tensor:
        """The new aggregated update ``(P,)``."""


class Composed(Defense):
    """Before-steps, weighted mean, after-steps: Δ = after(Σ_k w_k · before(Δ)_k).

    A client that a before-step rejects has weight 0, and the rest of the weights are scaled to
    sum 1. When all are rejected the aggregated update is zero: the global model stays.

    Args:
        before: steps on the updates, in order.
        after: steps on the average, in order.
    """

    def __init__(self, before: Sequence[Before] = (), after: Sequence[After] = ()):
        super().__init__()
        self.before = nn.ModuleList(before)
        self.after = nn.ModuleList(after)

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """Run the steps."""
        received = Received(updates, weights)
        for step in self.before:
            received = step(received, context)
        update = mean(received.updates, received.weights)
        for step in self.after:
            update = step(update, len(updates), context)
        return Aggregation(update, received.trust, received.info)


def mean(updates: Tensor, weights: Tensor) -> Tensor:
    """Σ_k w_k Δ_k over the rows of ``(K, P)``, in a fixed order.

    Rows of weight 0 are left out rather than multiplied: what a rejected client sent may be
    infinite, and 0 · inf is not 0.

    >>> mean(torch.tensor([[1.0, 3.0], [torch.inf, 0.0]]), torch.tensor([1.0, 0.0]))
    tensor([1., 3.])
    """
    update = torch.zeros_like(updates[0])
    for row, weight in zip(updates, weights.to(updates).tolist(), strict=True):
        if weight != 0:
            update.add_(row, alpha=weight)
    return update


def norms(updates: Tensor) -> Tensor:
    """ℓ2 norm of every row of ``(K, P)``, accumulated in float64: ``(K,)`` float64."""
    # Row by row: all at once would hold the whole matrix in float64.
    rows = [torch.linalg.vector_norm(row, dtype=torch.float64) for row in updates]
    return torch.stack(rows)
