"""Alternating minimization: stealth and backdoor in turns, boosted while it trains."""

from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    AttackSetting,
    CompromisedClient,
    workbench_of,
)
from benchmark.attacks.history import LastUpdate
from benchmark.attacks.penalties import Proximal
from benchmark.attacks.poisoning import interleaved
from benchmark.attacks.rules import BoostedSteps, InTurn, Vector
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import at_least, not_negative, one_of, positive

Center = Literal["own", "others"]


class AlternatingMinimization(Attack):
    """In turns ``local_steps`` batches of CE + ρ/2 ‖w − c‖², and one step on all of D_mal.

    The malicious step is boosted in place, w ← w_b + λ (w_m − w_b), so nothing is boosted when it
    is done. c is what an honest client would come to: w_t and the client's ``own`` honest update,
    or w_t and the server's last update, the ``others``' (none before there is one).

    Args:
        boost: λ, 1 to 3K; null takes β_j, which is K for one attacker, as in the paper.
        rho: ρ, 1e-5 to 1; 1e-4 in the paper.
        local_steps: batches between malicious steps; 1 in the paper's code, 10 in its README.
        epochs: passes over the local data; 10 in the paper's code.
        center: ``own`` or ``others``.
        weights_only: biases are neither boosted nor held near c.

    Raises:
        ValueError: a number out of its range, or an unknown ``center``.
    """

    paper = "Bhagoji et al. 2019, ICML, arXiv 1811.12470, section 3.4, and its published code"
    cost = "1 + 10/E for E local epochs of an honest one, and a step on all of D_mal a batch"
    in_tests = MappingProxyType({"epochs": 1, "local_steps": 2})

    def __init__(
        self,
        boost: float | None = None,
        rho: float = 1e-4,
        local_steps: int = 1,
        epochs: int = 10,
        center: Center = "own",
        weights_only: bool = False,
    ):
        super().__init__()
        self.boost = None if boost is None else positive("boost", boost)
        self.rho = not_negative("rho", rho)
        self.local_steps = at_least("local_steps", 1, local_steps)
        self.epochs = at_least("epochs", 1, epochs)
        self.center = one_of("center", Center, center)
        self.weights_only = weights_only

    def setup(self, setting: AttackSetting) -> None:
        """Nothing was seen."""
        super().setup(setting)
        self.last = LastUpdate(setting.num_parameters)

    def observe(self, round: int, theta: Tensor) -> None:
        """What the server did last."""
        self.last.see(theta)

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Train again, near what the honest lane gave."""
        bench, backdoor = workbench_of(context, self)
        lanes = []
        for update, client in zip(updates[:, 0], context.members, strict=True):
            drift = update if self.center == "own" else self.last.update
            lanes.append(self.planting(client, backdoor, context.start + drift, context))
        return bench.train(context.start, lanes, context.round)

    def planting(
        self, client: CompromisedClient, backdoor: Examples, center: Tensor, context: AttackContext
    ) -> Lane:
        """The lane of turns."""
        local = client.batches(client.local, self.epochs, client.batch_size, "turns")
        malicious = client.batches(backdoor, 1, len(backdoor), "malicious")
        lane, marked = interleaved(local, malicious, self.local_steps)
        rates = (client.lr,) * lane.num_steps
        among = self._weights(context, center) if self.weights_only else None
        honest = [not mark for mark in marked]
        near = Proximal(rates, self.rho, lambda: center, honest, among)
        longer = BoostedSteps(client.boost if self.boost is None else self.boost, marked, among)
        return replace(lane, rule=InTurn([near, longer]))

    @staticmethod
    def _weights(context: AttackContext, like: Tensor) -> Vector:
        """1 for weights, 0 for biases."""
        found = torch.ones_like(like)
        for layer in context.layers:
            if len(layer.shape) == 1:
                found[layer.place] = 0
        return lambda: found
