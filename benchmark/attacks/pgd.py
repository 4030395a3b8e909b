"""Projected gradient descent on poison, with and without replacement."""

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, CompromisedClient, workbench_of
from benchmark.attacks.penalties import Proximal
from benchmark.attacks.poisoning import Poisoning
from benchmark.attacks.rules import Ball, Norm, projected
from benchmark.attacks.scaling import boosted, within
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import at_least, not_negative, one_of, positive


class PGD(Poisoning):
    """Trains on poison inside a ball around the global model, ‖w − w_t‖ ≤ ε.

    Projected after every ``every``-th batch of an epoch and after its last (``linf``: after every
    step); momentum goes on through the projection. With ``replacement`` the update is multiplied by
    β_j when it is done, so the paper's submitted norm is ε β. Here ``norm_bound`` is of what is
    submitted: ε = norm_bound, or norm_bound/β_j with replacement.

    With ``prox`` the loss has ρ ‖w − ŵ‖² beside, ŵ from ``prox_epochs`` honest epochs first.

    Args:
        norm_bound: of the submitted update, 0.05 to 50; the paper's ε is 1 for EMNIST and 2 for
            CIFAR-10 without replacement.
        norm: of the ball: ``l2``, or ``linf``, for which the paper's code has lr 0.001.
        every: 10 in the paper's code, 1 to 20.
        replacement: whether the update is boosted.
        prox: ρ; 1 in the paper's code where it is used, 0 elsewhere.
        prox_epochs: 5 in the paper's code.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch; 66 of 166 images in the paper's code.
        lr: learning rate; 0.1 for EMNIST, 0.02 for CIFAR-10; null takes the protocol's.
        momentum: of its SGD; 0.9 in the paper's code.
        weight_decay: of its SGD; 1e-4 in the paper's code.

    Raises:
        ValueError: a number out of its range, or an unknown ``norm``.
    """

    paper = "Wang et al. 2020, NeurIPS, arXiv 2007.05084, section 3, and its published code"
    cost = "1; 1 + 5/E with prox, for E local epochs of an honest one"

    def __init__(
        self,
        norm_bound: float = 1.0,
        norm: Norm = "l2",
        every: int = 10,
        replacement: bool = False,
        prox: float = 0.0,
        prox_epochs: int = 5,
        epochs: int | None = None,
        poison_share: float = 0.4,
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.norm_bound = positive("norm_bound", norm_bound)
        self.norm = one_of("norm", Norm, norm)
        self.every = at_least("every", 1, every)
        self.replacement = replacement
        self.prox = not_negative("prox", prox)
        self.prox_epochs = at_least("prox_epochs", 1, prox_epochs)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on poison, or the honest one that comes before it."""
        return [self._honest(client) if self.prox else self._planting(client, backdoor)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Train near ŵ, if that is wanted; project, as it may be given any update; boost."""
        found = updates[:, 0]
        if self.prox:
            found = torch.stack(
                [self._near(*pair, context) for pair in zip(found, context.members, strict=True)]
            )
        nothing = torch.zeros_like(found[0])
        radii = [self.radius(boost) for boost in context.boosts.tolist()]
        rows = [
            projected(row.clone(), nothing, radius, self.norm)
            for row, radius in zip(found, radii, strict=True)
        ]
        kept = torch.stack(rows)
        sent = boosted(kept, context.boosts) if self.replacement else kept
        return within(sent, self.norm_bound) if self.norm == "l2" else sent

    def radius(self, boost: float) -> float:
        """ε, before boosting."""
        return self.norm_bound / boost if self.replacement else self.norm_bound

    def _honest(self, client: CompromisedClient) -> Lane:
        return client.batches(client.local, self.prox_epochs, client.batch_size, "local")

    def _planting(self, client: CompromisedClient, poison: Examples, *more: Proximal) -> Lane:
        lane = self.poisoned(client, client.poison(poison))
        ball = Ball(self.radius(client.boost), self.norm, 1 if self.norm == "linf" else self.every)
        return self.trained(client, lane, ball, penalties=more)

    def _near(self, honest: Tensor, client: CompromisedClient, context: AttackContext) -> Tensor:
        bench, poison = workbench_of(context, self)
        center, lane = context.start + honest, self.poisoned(client, client.poison(poison))
        near = Proximal(self.rates(client, lane), 2 * self.prox, lambda: center)
        return bench.train(context.start, [self._planting(client, poison, near)], context.round)[0]
