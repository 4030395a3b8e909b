"""Neurotoxin: the backdoor goes where honest clients hardly move."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient, workbench_of
from benchmark.attacks.history import LastUpdate
from benchmark.attacks.poisoning import Poisoning
from benchmark.attacks.rules import Ball, Unfrozen
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of, positive, positive_share

Reference = Literal["update", "gradient"]
Among = Literal["all", "layers"]


class Neurotoxin(Poisoning):
    """Trains on poison; in every step only the ⌊keep · n⌋ weights of smallest |reference| move.

    The reference is ``update``, what the server did last, w_t − w_{t−1} (before there is one
    nothing is masked), as the paper says; or ``gradient``, of w_t on the attackers' own clean data,
    where the paper's code has other clients'. The mask comes after weight decay, which in the
    paper's code moves what is masked. The protocol's rate by default, as it should be compared:
    the code compares 0.02 with a mask to 0.003 without.

    Args:
        keep: share of weights that move, 0.5 to 0.999; 0.95 in the paper.
        reference: ``update`` or ``gradient``.
        among: whether the n weights are ``all`` together, or those of each of the ``layers``.
        norm_bound: projects on ‖w − w_t‖ ≤ this after every step; null does not.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch, above 0 to 1.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD; 0.9 in the paper's code.
        weight_decay: of its SGD; 5e-4 in the paper's code.

    Raises:
        ValueError: a number out of its range, an unknown ``reference`` or ``among``.
    """

    paper = "Zhang et al. 2022, ICML, arXiv 2206.10341, algorithm 1, and its published code"
    cost = "1"

    def __init__(
        self,
        keep: float = 0.95,
        reference: Reference = "update",
        among: Among = "all",
        norm_bound: float | None = None,
        epochs: int | None = None,
        poison_share: float = 0.3125,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.keep = positive_share("keep", keep)
        self.reference = one_of("reference", Reference, reference)
        self.among = one_of("among", Among, among)
        self.norm_bound = None if norm_bound is None else positive("norm_bound", norm_bound)
        self.mask = torch.empty(0)

    def setup(self, setting: AttackSetting) -> None:
        """Nothing was seen."""
        super().setup(setting)
        self.last = LastUpdate(setting.num_parameters)

    def observe(self, round: int, theta: Tensor) -> None:
        """What the server did last."""
        self.last.see(theta)

    def before_training(self, context: AttackContext) -> None:
        """The mask, once for all clients of the round."""
        reference = self.last.update if self.reference == "update" else self._gradient(context)
        if self.reference == "update" and not self.last.known:
            self.mask = torch.ones_like(context.start, dtype=torch.bool)
        elif self.among == "all":
            self.mask = smallest(reference, self.keep)
        else:
            layers = context.layers or (Layer("all", slice(None), reference.shape),)
            self.mask = torch.cat([smallest(reference[x.place], self.keep) for x in layers])

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on poison, inside of the mask."""
        lane = self.poisoned(client, client.poison(backdoor))
        ball = [] if self.norm_bound is None else [Ball(self.norm_bound)]
        return [self.trained(client, lane, Unfrozen(lambda: self.mask), *ball)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Inside of the mask, which the lanes kept to already."""
        if len(self.mask) != updates.shape[2]:
            self.before_training(context)
        return updates[:, 0] * self.mask.to(updates)

    def _gradient(self, context: AttackContext) -> Tensor:
        bench, _ = workbench_of(context, self)
        total = torch.zeros_like(context.start)
        for client in context.members:
            for indices in client.local.indices.split(client.batch_size):
                labels = bench.data.labels[indices]
                images = bench.pixels(indices, total.dtype)
                total += bench.gradient(context.start, images, labels)[1] * len(indices)
        return total


def smallest(reference: Tensor, keep: float) -> Tensor:
    """True for the ⌊keep · n⌋ entries of smallest size of ``(n,)``, the first of equals.

    >>> smallest(torch.tensor([0.1, -5.0, 0.2, -0.3, 4.0, 0.0]), 0.5)
    tensor([ True, False,  True, False, False,  True])
    """
    count, sizes = int(keep * len(reference)), reference.abs()
    if count == 0:
        return torch.zeros_like(reference, dtype=torch.bool)
    border = sizes.kthvalue(count).values
    mask = sizes < border
    equal = (sizes == border).nonzero().flatten()
    mask[equal[: count - int(mask.sum())]] = True
    return mask
