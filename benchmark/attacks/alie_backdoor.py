"""A little is enough, as a backdoor: trained from where the honest go, kept within their spread."""

from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, Knowledge
from benchmark.attacks.colluding import Known, honest_rows, moments
from benchmark.attacks.penalties import Proximal
from benchmark.attacks.poisoning import relabelled
from benchmark.attacks.rules import InTurn, Momentum
from benchmark.utils.checks import at_least, at_most, not_negative, one_of, positive


class AlieBackdoor(Attack):
    """All submit w − w_t, clipped by coordinate into [μ − z σ, μ + z σ] of known updates.

    w is trained from w₀ = w_t + μ on D_mal alone, with loss CE + α Σ_ℓ mean((w_ℓ − w₀_ℓ)²) over
    the parameters ℓ, unless w₀ reads all of D_mal as it is wanted already. The paper's code is off
    by twice the mean when it goes back to gradients, which is not done here. On arrays the update
    that is given, the last lane's, is what is clipped.

    >>> from benchmark.testing import craft
    >>> craft("alie_backdoor", [[9.0, -9.0]], honest=[[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]])
    tensor([[ 3.2247, -1.1213]])

    Args:
        z: 0.1 to 5; 1.5 in the paper's code.
        ddof: σ² is divided by n − ddof: 0, or 1 in later codes.
        known: updates of the ``honest``, or the ``own`` honest ones, as in the paper's code.
        distance: α; 4 in the paper's code, 0.2 in its text.
        epochs: passes over D_mal; 30 in the paper's code.
        lr: 0.1 in the paper's code, whose momentum begins anew in every batch, so that it has none.
        weight_decay: 1e-4 in the paper's code.
        batch_size: 200 in the paper's code.

    Raises:
        ValueError: a number out of its range, or an unknown ``known``.
    """

    paper = "Baruch et al. 2019, NeurIPS, arXiv 1902.06156, algorithm 4, and its published code"
    knowledge = Knowledge.UPDATES
    cost = "1, and once a round 30 passes over D_mal"
    in_tests = MappingProxyType({"epochs": 3})

    def __init__(
        self,
        z: float = 1.5,
        ddof: int = 0,
        known: Known = "honest",
        distance: float = 4.0,
        epochs: int = 30,
        lr: float = 0.1,
        weight_decay: float = 1e-4,
        batch_size: int = 200,
    ):
        super().__init__()
        self.z = positive("z", z)
        self.ddof = at_most("ddof", 1, at_least("ddof", 0, ddof))
        self.known = one_of("known", Known, known)
        self.distance = not_negative("distance", distance)
        self.epochs = at_least("epochs", 1, epochs)
        self.lr = positive("lr", lr)
        self.weight_decay = not_negative("weight_decay", weight_decay)
        self.batch_size = at_least("batch_size", 1, batch_size)

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Train from the mean, clip."""
        own = updates[:, 0]
        rows = own if self.known == "own" else honest_rows(self, own, context)
        center, spread = moments(rows, self.ddof)
        wanted = self._wanted(center, context) if context.workbench else updates[:, -1].double()
        clipped = wanted.clamp(min=center - self.z * spread, max=center + self.z * spread)
        return clipped.to(own).expand_as(own).contiguous()

    def _wanted(self, center: Tensor, context: AttackContext) -> Tensor:
        """w − w_t ``(P,)``."""
        bench, backdoor, client = context.workbench, context.backdoor, context.members[0]
        assert bench
        assert backdoor
        start = (context.start.double() + center).to(context.start)
        if bench.accuracy(start, relabelled(backdoor, bench)) == 1:
            return center
        lane = client.batches(backdoor, self.epochs, self.batch_size, "backdoor")
        rates = (self.lr,) * lane.num_steps
        of_mean = torch.ones_like(start)
        for layer in context.layers:
            of_mean[layer.place] /= layer.place.stop - layer.place.start
        near = Proximal(rates, 2 * self.distance, among=lambda: of_mean)
        rule = InTurn([near, Momentum(rates, 0.0, self.weight_decay)])
        lane = replace(lane, rates=rates, rule=rule)
        return center + bench.train(start, [lane], context.round)[0].double()
