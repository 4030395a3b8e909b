"""Defenses that are composed of steps before and after the average."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.defenses.base import Aggregation, Defense, DefenseContext, Part
from benchmark.defenses.blocks import mean


@dataclass(frozen=True)
class Received:
    """The updates on their way to the average.

    Attributes:
        updates: ``(K, P)``.
        weights: ``(K,)``, sum 1, or all 0 where everybody is rejected.
        trust, info: as in :class:`Aggregation`.
        scale: ``(K,)``, what the updates are still to be multiplied by, where a step leaves that to
            the mean, which needs no second ``(K, P)`` for it.
        workers: on how many threads passes over the updates are spread.
    """

    updates: Tensor
    weights: Tensor
    trust: Tensor | None = None
    info: dict[str, Tensor] = field(default_factory=dict)
    scale: Tensor | None = None
    workers: int = 1

    def scaled(self) -> "Received":
        """With updates that are multiplied."""
        if self.scale is None:
            return self
        return replace(self, updates=self.updates * self.scale.unsqueeze(1), scale=None)

    def mean(self) -> Tensor:
        """Σ_k w_k Δ_k, ``(P,)``."""
        return mean(self.updates, self.weights, self.scale, self.workers)

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
    """A step on the updates before they are averaged.

    Attributes:
        each_alone: whether it looks at each update alone, and ``info`` are means over clients.
    """

    each_alone: ClassVar[bool] = False

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
        received = self._received(updates, weights, context)
        return self._finished(received.mean(), received, context)

    @property
    def streams(self) -> bool:
        """Where every step before the mean looks at each update alone."""
        return all(step.each_alone for step in self.before)

    def part(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Part:
        """The mean of a part after its steps."""
        received = self._received(updates, weights / weights.sum(), context)
        found = received.mean()
        kept = weights[received.weights > 0].sum()
        return Part(Aggregation(found, received.trust, received.info), kept, len(updates))

    def joined(self, parts: Sequence[Part], context: DefenseContext) -> Aggregation:
        """The parts' means by the weight that they kept, then the steps after the mean."""
        kept, found = torch.stack([part.weight for part in parts]), [p.aggregation for p in parts]
        clients = len(context.clients)
        total = kept.sum()
        update = mean(torch.stack([x.update for x in found]), kept / total if total > 0 else kept)
        judged = any(x.trust is not None for x in found)
        trusts = [
            update.new_ones(p.size) if p.aggregation.trust is None else p.aggregation.trust
            for p in parts
        ]
        info = {
            name: torch.stack([p.aggregation.info[name] * p.size for p in parts]).sum() / clients
            for name in found[0].info
        }
        trust = torch.cat(trusts) if judged else None
        received = Received(update.new_empty(clients, 0), kept, trust, info)
        return self._finished(update, received, context)

    def _received(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Received:
        received = Received(updates, weights, workers=self.threads(updates))
        for step in self.before:
            received = step(received.scaled(), context)
        return received

    def _finished(self, update: Tensor, received: Received, context: DefenseContext) -> Aggregation:
        for step in self.after:
            update = step(update, received, context)
        if not received.weights.any():
            received = received.saw("all_rejected", torch.ones(()))
        return Aggregation(update, received.trust, received.info)
