"""Defenses that are composed of steps before and after the average."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from benchmark.defenses.base import Aggregation, Defense, DefenseContext, mean


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
    def forward(self, update: Tensor, received: Received, context: DefenseContext) -> Tensor:
        """The new aggregated update ``(P,)``, from what came out of the steps before the mean."""


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
            update = step(update, received, context)
        return Aggregation(update, received.trust, received.info)
