"""Mimic: all repeat one honest client, whom the average then follows."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.attacks.base import Attack, AttackContext, AttackSetting, Knowledge
from benchmark.attacks.colluding import blocks, honest_rows, moments
from benchmark.utils.checks import at_least, one_of

Mode = Literal["variance", "fixed"]
NOBODY = -1


class Mimic(Attack):
    """All submit the update of an honest client, so that no distance gives them away.

    ``variance``: of the client furthest along z, the direction in which clients differ most, found
    in the first T attacked rounds. In round 0 m is the mean and z = n(Σ_k ((x_k − m)·z) (x_k − m)),
    n(v) = v/‖v‖, from a normal z; then m ← (t m + mean)/(1 + t) and
    z ← n((t z + n(Σ_k …))/(1 + t)). The target is argmax x_k·z, a user, who stays it from round T
    on; in a cohort without that user it is the argmax again.

    Args:
        mode: ``variance`` or ``fixed``.
        index: for ``fixed``, whose update among the round's honest ones, counted round and round.
        warmup: T, attacked rounds; 1 in the published code.

    Raises:
        ValueError: an unknown ``mode``, ``index`` below 0 or ``warmup`` below 1.
    """

    paper = "Karimireddy et al. 2022, ICLR, arXiv 2006.09365, section 4, and its published code"
    knowledge = Knowledge.UPDATES
    goal = "untargeted"
    mean: Tensor
    direction: Tensor
    seen: Tensor
    target: Tensor

    def __init__(self, mode: Mode = "variance", index: int = 0, warmup: int = 1):
        super().__init__()
        self.mode = one_of("mode", Mode, mode)
        self.index = at_least("index", 0, index)
        self.warmup = at_least("warmup", 1, warmup)

    def setup(self, setting: AttackSetting) -> None:
        """Nobody was seen."""
        super().setup(setting)
        # The published code draws z by this seed in every run.
        source = torch.Generator().manual_seed(0)
        P = setting.num_parameters if self.mode == "variance" else 0
        self.register_buffer("mean", torch.zeros(P, dtype=torch.float64))
        self.register_buffer("direction", torch.randn(P, generator=source).double())
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("target", torch.tensor(NOBODY))

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """The target's update."""
        rows = honest_rows(self, updates[:, 0], context)
        if self.mode == "fixed":
            return self.repeated(rows[self.index % len(rows)], updates)
        users = context.honest_clients if rows is context.honest_updates else context.clients
        assert users is not None
        if learning := int(self.seen) < self.warmup:
            self.learn(rows)
        self.seen = self.seen + 1
        there = (users == self.target.to(users)).nonzero().flatten()
        if len(there) and not learning:
            return self.repeated(rows[int(there[0])], updates)
        chosen = int(products(rows, self.direction).argmax())
        if learning:
            self.target = users[chosen].to(self.target)
        return self.repeated(rows[chosen], updates)

    @staticmethod
    def repeated(row: Tensor, updates: Tensor) -> Tensor:
        """For each of the M."""
        return row.repeat(len(updates), 1)

    def learn(self, rows: Tensor) -> None:
        """Where clients differ most, from one more round."""
        t, (center, _) = int(self.seen), moments(rows)
        self.mean = (t * self.mean.to(center) + center) / (1 + t)
        z = self.direction.to(center)
        weights = products(rows, z) - self.mean @ z
        pull = torch.cat(
            [
                weights @ (rows[:, place].double() - self.mean[place])
                for place in blocks(rows.shape[1])
            ]
        )
        if pull.any():
            self.direction = normalize((t * z + normalize(pull, dim=0)) / (1 + t), dim=0)


def products(rows: Tensor, vector: Tensor) -> Tensor:
    """x_k·v of the rows of ``(n, P)``, float64."""
    found = rows.new_zeros(len(rows), dtype=torch.float64)
    for place in blocks(rows.shape[1]):
        found += rows[:, place].double() @ vector[place].to(found)
    return found
