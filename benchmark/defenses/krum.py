"""Krum: the update that lies closest to its neighbors."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, seen


def krum_scores(squared_distances: Tensor, num_neighbors: int) -> Tensor:
    """Σ of the least squared distances to others, ``(n,)``.

    Args:
        squared_distances: ``(n, n)``.
        num_neighbors: how many of them, 1 to n − 1.
    """
    others = squared_distances.clone().fill_diagonal_(torch.inf)
    return others.sort(dim=1).values[:, :num_neighbors].sum(dim=1)


class Krum(Rule):
    """The update with the least score, s_i = Σ of the n − f − 2 least ‖Δ_i − Δ_j‖², j ≠ i.

    Needs n ≥ 2f + 3. Cost: K²P for the distances, K² memory.

    >>> from benchmark.testing import aggregate
    >>> aggregate("krum", [[0.0], [1.0], [2.0], [3.0], [10.0]], assumed_compromised=1).trust
    tensor([0., 1., 0., 0., 0.])

    Args:
        assumed_compromised: f.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Blanchard et al. 2017, NeurIPS, arXiv 1703.02757"

    def __init__(self, assumed_compromised: int = 1, weights: Weights = "refuse"):
        super().__init__(assumed_compromised, weights)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """2f + 3."""
        return 2 * assumed_compromised + 3

    def combine(self, received: Submissions) -> Aggregation:
        """Pick one."""
        n = len(received)
        best = int(krum_scores(received.squared_distances, n - received.f - 2).argmin())
        trust = received.rows.new_zeros(n)
        trust[best] = 1
        return seen(received.rows[best].clone(), trust)
