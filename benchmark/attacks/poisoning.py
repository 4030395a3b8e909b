"""What lanes that plant a backdoor are made of, and what is submitted of them."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import CompromisedClient
from benchmark.engine.plan import Examples, Lane, LocalClient
from benchmark.utils.randomness import generator

BackdoorBatch = Literal["full", "batch"]
"""D_mal as one batch (the paper's code), or in batches of the protocol's size (its text)."""


def backdoor_pass(
    client: LocalClient, backdoor: Examples, epochs: int, batch: BackdoorBatch, purpose: str
) -> Lane:
    """A lane of ``epochs`` passes over D_mal alone."""
    size = len(backdoor) if batch == "full" else client.batch_size
    return client.batches(backdoor, epochs, size, purpose)


def poisoned_batches(
    client: CompromisedClient, poison: Examples, share: float, epochs: int, purpose: str
) -> Lane:
    """``epochs`` passes over the local data, of whose every batch a share is replaced by poison.

    Of b examples the first ⌊share · b + ½⌋, at least one where the share is not 0. Poison is taken
    in a shuffled order, again and again.
    """
    lane = client.batches(client.local, epochs, client.batch_size, purpose)
    counts = [min(max(int(share * b + 0.5), share > 0), b) for b in lane.sizes]
    total, source = sum(counts), generator(client.seed, client.round, f"{purpose}/{client.slot}")
    passes = -(-total // max(len(poison), 1))
    orders = [torch.randperm(len(poison), generator=source) for _ in range(passes)]
    order = torch.cat([*orders, torch.zeros(0, dtype=torch.int64)])[:total]
    places = torch.arange(lane.indices.shape[1]) < torch.tensor(counts)[:, None]
    indices, labels = lane.indices.clone(), lane.labels.clone()
    indices[places], labels[places] = poison.indices[order], poison.labels[order]
    return replace(lane, indices=indices, labels=labels)


def boosted(updates: Tensor, boosts: Tensor) -> Tensor:
    """β_j · Δ_j for every row of ``(M, P)``: alone among 30 with a uniform mean, β = 30.

    >>> from torch import tensor
    >>> boosted(tensor([[1.0, -2.0]]), tensor([30.0])) / 30
    tensor([[ 1., -2.]])
    """
    return updates * boosts.to(updates).unsqueeze(1)
