"""What the server makes of a cohort's updates, all at once or a part of the cohort at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseContext, Part
from benchmark.defenses.blocks import torch_norms
from benchmark.engine.base import Engine, Trained
from benchmark.engine.plan import Plan
from benchmark.federation.cohort import Cohort
from benchmark.federation.contract import checked_aggregation


class Craft(Protocol):
    """What the server receives of a cohort, from what its lanes gave; see ``Adversary.craft``."""

    def __call__(self, trained: Tensor, cohort: Cohort, *, context: DefenseContext) -> Tensor:
        """``(K, P)``."""


@dataclass(frozen=True)
class Reception:
    """What is left of a round's updates.

    Attributes:
        aggregation: what the defense made of them.
        losses: ``(K,)``, of the clients' own lanes.
        lengths: ``(K,)`` float64, norms as the server received them; not finite where they are not.
        statistics: ``(Q,)``, running statistics of the next global model; None leaves them.
    """

    aggregation: Aggregation
    losses: Tensor
    lengths: Tensor
    statistics: Tensor | None = None


def averaged(statistics: Tensor | None, weights: Tensor, trust: Tensor | None) -> Tensor | None:
    """Running statistics ``(K, Q)`` of those that a defense kept, by weight and trust ``(K,)``.

    None where there are none to average.
    """
    if statistics is None or statistics.shape[1] == 0:
        return None
    shares = weights.cpu() * (1 if trust is None else trust.cpu())
    kept = shares > 0
    if not kept.any():
        return None
    share = (shares[kept] / shares[kept].sum()).double()
    mean = share @ statistics.cpu()[kept].double()
    return mean.to(statistics)


def at_once(
    defense: Defense, cohort: Cohort, updates: Tensor, trained: Trained, context: DefenseContext
) -> Reception:
    """All updates ``(K, P)`` in memory."""
    K = len(updates)
    found = defense.aggregate(updates, cohort.weights.to(updates.device), context)
    checked_aggregation(defense, found, updates)
    statistics = None if trained.statistics is None else trained.statistics[:K]
    kept = averaged(statistics, cohort.weights, found.trust)
    return Reception(
        found, trained.losses[:K].cpu(), torch_norms(updates, defense.threads(updates)).cpu(), kept
    )


@dataclass(frozen=True)
class Seen:
    """What is left of k clients.

    Attributes:
        part: of the defense.
        losses, lengths, statistics: ``(k,)``, ``(k,)`` and ``(k, Q)``, as :class:`Reception`.
    """

    part: Part
    losses: Tensor
    lengths: Tensor
    statistics: Tensor | None


@dataclass(frozen=True)
class PartReduction:
    """What the server keeps of a cohort part by part, in the place of updates.

    Attributes:
        defense: it streams.
        context: what the server knows; without a workbench, since it may look elsewhere.
        cohort: all of it.
        slots: places in the cohort of each part's clients.
    """

    defense: Defense
    context: DefenseContext
    cohort: Cohort
    slots: Sequence[Tensor]

    def __call__(self, number: int, trained: Trained) -> Seen:
        """What is left of a part whose clients' rows come first."""
        slots, defense = self.slots[number], self.defense
        k = len(slots)
        updates, statistics = trained.updates[:k], trained.statistics
        own = replace(self.context, clients=self.cohort.clients[slots])
        return Seen(
            defense.part(updates, self.cohort.weights[slots].to(updates.device), own),
            trained.losses[:k].cpu().float(),
            torch_norms(updates, defense.threads(updates)).cpu(),
            None if statistics is None else statistics[:k],
        )


def in_parts(
    defense: Defense,
    engine: Engine,
    craft: Craft,
    cohort: Cohort,
    plan: Plan,
    context: DefenseContext,
    size: int,
) -> Reception:
    """Trained and aggregated part by part; no more than ``size`` honest updates are in memory.

    The compromised come first and together, since an attack crafts for all of them.
    """
    K, theta = len(cohort.clients), context.theta
    if plan.server is not None:
        root_update = engine.train(theta, Plan(plan.round, [plan.server])).updates[0]
        context = replace(context, root_update=root_update)
    order, seen = list(_parts(cohort.compromised, size)), list[Seen]()
    plans = [Plan(plan.round, [plan.clients[slot] for slot in slots.tolist()]) for slots in order]
    look = PartReduction(defense, replace(context, workbench=None), cohort, order)
    if M := len(cohort.boosts):
        trained = engine.train(theta, Plan(plan.round, plans[0].clients + plan.clients[K:]))
        attackers = replace(
            cohort,
            clients=cohort.clients[order[0]],
            compromised=cohort.compromised[order[0]],
            weights=cohort.weights[order[0]],
        )
        updates = craft(trained.updates, attackers, context=context)
        seen.append(look(0, replace(trained, updates=updates)))
    honest = replace(look, slots=order[bool(M) :])
    seen += engine.reduced(theta, plans[bool(M) :], honest)
    places = torch.cat(order)
    found = defense.joined([each.part for each in seen], context)
    if found.trust is not None:
        found = replace(found, trust=_placed(found.trust, places))
    statistics = [each.statistics for each in seen if each.statistics is not None]
    kept = _placed(torch.cat(statistics), places) if statistics else None
    return Reception(
        found,
        _placed(torch.cat([each.losses for each in seen]), places),
        _placed(torch.cat([each.lengths for each in seen]), places),
        averaged(kept, cohort.weights, found.trust),
    )


def _placed(values: Tensor, places: Tensor) -> Tensor:
    """Rows in the order of the parts, in the order of the cohort."""
    return torch.empty_like(values).index_copy_(0, places.to(values.device), values)


def _parts(compromised: Tensor, size: int) -> Iterator[Tensor]:
    first = compromised.nonzero().flatten()
    if len(first):
        yield first
    yield from (part for part in (~compromised).nonzero().flatten().split(size) if len(part))
