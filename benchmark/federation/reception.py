"""What the server makes of a cohort's updates, all at once or a part of the cohort at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseContext, Part
from benchmark.defenses.blocks import torch_norms
from benchmark.engine.base import Trained
from benchmark.engine.plan import Plan
from benchmark.federation.cohort import Cohort
from benchmark.federation.contract import checked_aggregation

Train = Callable[[Tensor, Plan], Trained]


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


def in_parts(
    defense: Defense,
    train: Train,
    craft: Craft,
    cohort: Cohort,
    plan: Plan,
    context: DefenseContext,
    size: int,
) -> Reception:
    """Trained and aggregated part by part; no more than ``size`` honest updates are in memory.

    The compromised come first and together, since an attack crafts for all of them.
    """
    K = len(cohort.clients)
    order, parts = list(_parts(cohort.compromised, size)), list[Part]()
    losses, lengths = torch.zeros(K), torch.zeros(K, dtype=torch.float64)
    statistics: list[Tensor] = []
    if plan.server is not None:
        root_update = train(context.theta, Plan(plan.round, [plan.server])).updates[0]
        context = replace(context, root_update=root_update)
    for slots in order:
        own = replace(
            cohort,
            clients=cohort.clients[slots],
            compromised=cohort.compromised[slots],
            weights=cohort.weights[slots],
            boosts=cohort.boosts if cohort.compromised[slots[0]] else cohort.boosts[:0],
        )
        further = plan.clients[K:] if len(own.boosts) else []
        lanes = [plan.clients[slot] for slot in slots.tolist()] + further
        trained = train(context.theta, Plan(plan.round, lanes))
        updates = craft(trained.updates, own, context=context)
        weights = own.weights.to(updates.device)
        parts.append(defense.part(updates, weights, replace(context, clients=own.clients)))
        losses[slots] = trained.losses[: len(slots)].cpu().float()
        if trained.statistics is not None:
            statistics.append(trained.statistics[: len(slots)])
        lengths[slots] = torch_norms(updates, defense.threads(updates)).cpu()
    found = defense.joined(parts, context)
    if found.trust is not None:
        trust = torch.empty_like(found.trust)
        trust[torch.cat(order).to(trust.device)] = found.trust
        found = replace(found, trust=trust)
    placed = None
    if statistics:
        placed = torch.empty_like(torch.cat(statistics))
        placed[torch.cat(order).to(placed.device)] = torch.cat(statistics)
    return Reception(found, losses, lengths, averaged(placed, cohort.weights, found.trust))


def _parts(compromised: Tensor, size: int) -> Iterator[Tensor]:
    first = compromised.nonzero().flatten()
    if len(first):
        yield first
    yield from (part for part in (~compromised).nonzero().flatten().split(size) if len(part))
