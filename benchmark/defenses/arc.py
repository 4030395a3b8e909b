"""Adaptive robust clipping in front of another rule."""

import torch
from torch import Tensor

from benchmark.defenses.mixing import Mixing
from benchmark.defenses.submissions import Submissions


class Arc(Mixing):
    """The k = ⌊2f(n − f)/n⌋ longest updates are clipped to the length of the longest other one.

    Any rule follows, with the same f. Needs n ≥ 2f + 1. Cost: KP, one more (K, P) where that is no
    mean.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0], [2.0], [3.0], [10.0]]
    >>> aggregate("arc", rows, assumed_compromised=1, inner="mean").update
    tensor([2.2500])

    Args:
        assumed_compromised: f, of the inner rule too.
        inner: any defense that does no more than aggregate.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Allouah et al. 2025, ICLR, arXiv 2405.14432"

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """2f + 1."""
        return 2 * assumed_compromised + 1

    def mixture(self, received: Submissions) -> tuple[Tensor, Tensor]:
        """Shorten the long ones."""
        n, f = len(received), received.f
        clipped = 2 * f * (n - f) // n
        bound = received.norms.sort().values[n - clipped - 1]
        return received.shrinkage(bound).diag(), torch.arange(n, device=received.rows.device)

    def mixed(self, received: Submissions, mixture: Tensor) -> Tensor:
        """Each row by its factor."""
        return received.scaled(mixture.diagonal())
