"""Rules that need each update once: what is added up over clients, then made into an update."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.blocks import mean
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions


class Streamed(Rule):
    """A rule that is a function of a weighted mean and of sums over clients.

    Its state moves in :meth:`conclude` alone, once a round.

    Args:
        assumed_compromised, weights: as :class:`benchmark.defenses.rule.Rule`.
    """

    @abstractmethod
    def look(self, received: Submissions) -> Part:
        """What is needed of these clients, whose weights sum to 1, for all that follows."""

    @abstractmethod
    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """One update from what was found of all; ``found.size`` of them were finite."""

    def combine(self, received: Submissions) -> Aggregation:
        """Look at all, conclude."""
        return self.conclude(self.look(received), received.context)

    @property
    def streams(self) -> bool:
        """Always."""
        return True

    def part(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Part:
        """Look at those who are finite; ``size`` counts them."""
        finite, received = self.received(updates, weights / weights.sum(), context)
        trust = finite.to(updates.dtype)
        if not finite.any():
            none = updates.new_zeros(updates.shape[1])
            return Part(Aggregation(none, trust), weights.new_zeros(()), 0)
        found = self.look(received)
        if found.aggregation.trust is not None:
            trust[finite] = found.aggregation.trust
        share = weights[finite].sum() if self.is_weighted else finite.sum()
        return replace(
            found, aggregation=replace(found.aggregation, trust=trust), weight=share * found.weight
        )

    def joined(self, parts: Sequence[Part], context: DefenseContext) -> Aggregation:
        """Add up, conclude."""
        trust = torch.cat([x.aggregation.trust for x in parts if x.aggregation.trust is not None])
        there = [part for part in parts if part.size]
        if not there:
            return self.nothing(parts[0].aggregation.update.expand(len(trust), -1), context)
        kept, n = torch.stack([part.weight for part in there]), sum(part.size for part in there)
        total = kept.sum()
        shares = kept / total if total > 0 else kept
        update = mean(torch.stack([part.aggregation.update for part in there]), shares)
        sums = {
            name: torch.stack([part.sums[name] for part in there]).sum(dim=0)
            for name in there[0].sums
        }
        result = self.conclude(Part(Aggregation(update, trust), total, n, sums), context)
        return result if n == len(trust) else self.dropping(result, trust, n)


def tally(
    received: Submissions,
    update: Tensor | None = None,
    trust: Tensor | None = None,
    weight: Tensor | None = None,
    **sums: Tensor,
) -> Part:
    """What was seen of clients.

    Args:
        received: they sent.
        update: ``(P,)``, their weighted mean, if it is needed.
        trust: ``(n,)``, if they are judged.
        weight: of their mean, as a share of what is theirs; 1 if nobody was left out.
        sums: what else is added up.
    """
    if update is None:
        update = received.rows.new_zeros(0)
    if weight is None:
        weight = received.weights.new_ones(())
    return Part(Aggregation(update, trust), weight, len(received), sums)
