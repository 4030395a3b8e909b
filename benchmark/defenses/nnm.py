"""Nearest-neighbor mixing in front of another rule."""

import torch
from torch import Tensor

from benchmark.defenses.mixing import Mixing
from benchmark.defenses.submissions import Submissions


class Nnm(Mixing):
    """Each update becomes the mean of its n − f nearest, itself included. Needs n ≥ 2f + 1.

    Any rule follows, with the same f. Cost: K²P for the distances and again for the mixing, one
    more (K, P); in front of a mean K²P once and none.

    >>> from benchmark.testing import aggregate
    >>> rows = [[0.0], [1.0], [3.0], [10.0]]
    >>> aggregate("nnm", rows, assumed_compromised=1, inner="median").update
    tensor([1.3333])

    Args:
        assumed_compromised: f, of the inner rule too.
        inner: any defense that does no more than aggregate.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Allouah et al. 2023, AISTATS, arXiv 2302.01772"

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """2f + 1."""
        return 2 * assumed_compromised + 1

    def mixture(self, received: Submissions) -> tuple[Tensor, Tensor]:
        """Equal shares of the nearest."""
        n = len(received)
        # Itself first, whatever lies at the same place.
        order = received.squared_distances.clone().fill_diagonal_(-1).argsort(dim=1, stable=True)
        near = order.new_zeros(n, n, dtype=torch.float64)
        near.scatter_(1, order[:, : n - received.f], 1 / (n - received.f))
        return near, torch.arange(n, device=near.device)
