"""Divide and conquer: drop what lies farthest along the first singular vector."""

import math

import torch

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import gram
from benchmark.defenses.rule import MajorityRule, Weights
from benchmark.defenses.submissions import Submissions
from benchmark.utils.checks import at_least, positive
from benchmark.utils.randomness import generator


class Dnc(MajorityRule):
    """The mean of those that no draw of coordinates rejects. Needs n ≥ 2f + 1.

    Each of ``niters`` times: b random coordinates, centered; with the first right singular vector v
    the n − ⌈c·f⌉ clients of the least ⟨x_k, v⟩² are kept. What all draws keep is averaged, in all
    coordinates. v is not formed: ⟨x_k, v⟩² = λ₁ u₁ₖ² of the K × K Gram matrix. Cost: niters · K²b.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 0.0], [1.1, 0.0], [0.9, 0.0], [5.0, 0.0]]
    >>> aggregate("dnc", rows, assumed_compromised=1).update
    tensor([1., 0.])

    Args:
        assumed_compromised: f.
        niters: draws of coordinates; 1 to 10.
        coordinates: b; all where there are no more.
        filtered: c, how many times f are rejected in each draw; 0.5 to 2.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: a number out of its range; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Shejwalkar and Houmansadr 2021, NDSS, section V"

    def __init__(
        self,
        assumed_compromised: int = 1,
        niters: int = 1,
        coordinates: int = 10000,
        filtered: float = 1.0,
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, weights)
        self.niters = at_least("niters", 1, niters)
        self.coordinates = at_least("coordinates", 1, coordinates)
        self.filtered = positive("filtered", filtered)

    def combine(self, received: Submissions) -> Aggregation:
        """Reject in every draw, then average."""
        (n, P), context = received.rows.shape, received.context
        source = generator(context.seed, context.round, "defense coordinates")
        left = max(n - math.ceil(self.filtered * received.f), 0)
        kept = torch.ones(n, dtype=torch.bool, device=received.rows.device)
        for _ in range(self.niters):
            rows = received.rows
            if self.coordinates < P:
                rows = rows[:, torch.randperm(P, generator=source)[: self.coordinates]]
            center = rows.double().mean(dim=0)
            values, vectors = torch.linalg.eigh(gram(rows, center, received.workers))
            scores = values[-1].clamp(min=0) * vectors[:, -1].square()
            least = torch.zeros_like(kept)
            least[scores.argsort(stable=True)[:left]] = True
            kept &= least
        return received.unweighted().keeping(kept)
