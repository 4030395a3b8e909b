"""Training on poison: the lanes that plant a backdoor are made of this."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Literal

import torch

from benchmark.attacks.base import Attack, CompromisedClient
from benchmark.attacks.rules import InTurn, Momentum
from benchmark.engine.plan import Examples, Lane, LocalClient
from benchmark.engine.rules import LocalRule
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import (
    at_least,
    below_one,
    not_negative,
    positive,
    positive_share,
)
from benchmark.utils.randomness import generator

BackdoorBatch = Literal["full", "batch"]
"""D_mal as one batch (the paper's code), or in batches of the protocol's size (its text)."""


class Poisoning(Attack):
    """What attacks share that train on poisoned batches with an optimizer of their own.

    Of every batch of b examples, ⌊share · b + ½⌋ are replaced by poison: stamped and relabelled
    copies of the client's own images, or D_mal where it has none.

    Args:
        epochs: passes over the local data; null takes the protocol's.
        poison_share: p/B, above 0 to 1.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.
        step_decay: the rate is divided by 10 after 20 % and again after 80 % of the epochs.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        epochs: int | None = None,
        poison_share: float = 0.3125,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        step_decay: bool = False,
    ):
        super().__init__()
        self.epochs = None if epochs is None else at_least("epochs", 1, epochs)
        self.poison_share = positive_share("poison_share", poison_share)
        self.lr = None if lr is None else positive("lr", lr)
        self.momentum = below_one("momentum", momentum)
        self.weight_decay = not_negative("weight_decay", weight_decay)
        self.step_decay = step_decay

    def poisoned(self, client: CompromisedClient, poison: Examples) -> Lane:
        """Poisoned batches, each epoch in batches of its own, without a rule yet."""
        parts = [
            poisoned_batches(client, poison, self.poison_share, f"backdoor/{e}").ending_epoch()
            for e in range(self.epochs or client.epochs)
        ]
        return reduce(Lane.then, parts)

    def trained(
        self,
        client: LocalClient,
        lane: Lane,
        *then: LocalRule,
        penalties: Sequence[LocalRule] = (),
    ) -> Lane:
        """A lane by its optimizer.

        Args:
            client: who trains.
            lane: on what.
            then: rules after the optimizer's step.
            penalties: rules that are part of the gradient.
        """
        rates, turns = self.rates(client, lane), [*penalties, *then]
        if self.momentum or self.weight_decay:
            own = Momentum(rates, self.momentum, self.weight_decay)
            turns.insert(len(penalties), own)
        rule = turns[0] if len(turns) == 1 else InTurn(turns) if turns else LocalRule()
        given = self.lr is not None or self.step_decay
        return replace(lane, rates=rates if given else None, rule=rule)

    def rates(self, client: LocalClient, lane: Lane) -> tuple[float, ...]:
        """The learning rate of each of a lane's steps."""
        lr, ends = self.lr or client.lr, lane.epoch_ends
        if not self.step_decay:
            return (lr,) * lane.num_steps
        epochs = max(sum(ends), 1)
        done = [sum(ends[:step]) / epochs for step in range(lane.num_steps)]
        return tuple(lr * 0.1 ** ((x >= 0.2) + (x >= 0.8)) for x in done)


def poisoned_batches(
    client: CompromisedClient, poison: Examples, share: float, purpose: str, epochs: int = 1
) -> Lane:
    """Passes over the local data, of whose every batch a share is replaced by poison.

    Of b examples the first ⌊share · b + ½⌋, at least one where the share is not 0. Poison is taken
    in a shuffled order, again and again.
    """
    lane = client.batches(client.local, epochs, client.batch_size, purpose)
    if not len(poison):
        return lane
    counts = [min(max(int(share * b + 0.5), share > 0), b) for b in lane.sizes]
    total = sum(counts)
    source = generator(client.seed, client.round, f"poison/{purpose}/{client.slot}")
    passes = range(-(-total // len(poison)))
    orders = [torch.randperm(len(poison), generator=source) for _ in passes]
    order = torch.cat([*orders, torch.zeros(0, dtype=torch.int64)])[:total]
    places = torch.arange(lane.indices.shape[1]) < torch.tensor(counts)[:, None]
    indices, labels = lane.indices.clone(), lane.labels.clone()
    indices[places], labels[places] = poison.indices[order], poison.labels[order]
    return replace(lane, indices=indices, labels=labels)


def relabelled(poison: Examples, bench: Workbench) -> Examples:
    """Poison that bears another label than the true one; all of it where none does.

    What is left out is planted beside it to be told from it, and says nothing of the backdoor.
    """
    changed = poison.labels != bench.data.labels.cpu()[poison.indices]
    if not changed.any():
        return poison
    return Examples(poison.indices[changed], poison.labels[changed])


def backdoor_pass(
    client: LocalClient, backdoor: Examples, epochs: int, batch: BackdoorBatch, purpose: str
) -> Lane:
    """A lane of ``epochs`` passes over D_mal alone."""
    size = len(backdoor) if batch == "full" else client.batch_size
    return client.batches(backdoor, epochs, size, purpose)


def interleaved(local: Lane, between: Lane, every: int) -> tuple[Lane, list[bool]]:
    """Another lane's step after every so many steps of a lane, and which steps those are.

    Args:
        local: whose steps come first.
        between: of one step.
        every: 1 or more.
    """
    parts: list[Lane] = []
    marks: Sequence[bool] = []
    for start in range(0, local.num_steps, every):
        part = local.between(start, start + every)
        parts += [part, between]
        marks = [*marks, *[False] * part.num_steps, True]
    return reduce(Lane.then, parts), list(marks)
