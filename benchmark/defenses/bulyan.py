"""Bulyan: Krum again and again, then the values nearest the median of each coordinate."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import ordered
from benchmark.defenses.multi_krum import picked_in_turn
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, middle, seen
from benchmark.utils.checks import one_of

Selected = Literal["n-2f", "n-2f-2"]


def mean_nearest(ordered: Tensor, center: Tensor, count: int) -> Tensor:
    """Mean of the ``count`` values of each column that lie nearest ``center`` ``(b,)``.

    Of two that lie as near the smaller one counts.

    Args:
        ordered: ``(n, b)``, sorted columns.
    """
    ordered = ordered.contiguous()
    # The nearest are neighbors. A window of them holds one of each ``count``-th value, and passes
    # on from one to the next while that lies nearer.
    nearest = ordered[:count].clone()
    for start in range(count, len(ordered), count):
        after = ordered[start : start + count]
        before = ordered[start - count :][: len(after)]
        nearer = after - center < center - before
        nearest[: len(after)] = torch.where(nearer, after, nearest[: len(after)])
    return nearest.mean(dim=0)


class Bulyan(Rule):
    """θ = n − 2f picks of Krum, then per coordinate the mean of those nearest the median.

    Krum with k clients left counts max(1, k − f − 2) neighbors, and each pick is taken out. Of
    the picks, a coordinate is the mean of the β = θ − 2f values nearest their median. Needs
    n ≥ 4f + 3. Cost: K²P for the distances, K³ log K for the picks, KP log K for the sorting.

    >>> from benchmark.testing import aggregate
    >>> rows = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [100.0]]
    >>> aggregate("bulyan", rows, assumed_compromised=1).update
    tensor([2.])

    Args:
        assumed_compromised: f.
        selected: θ: ``n-2f`` (the paper) or ``n-2f-2`` (its authors' later code).
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: an unknown ``selected``; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "El Mhamdi et al. 2018, ICML, arXiv 1802.07927"

    def __init__(
        self,
        assumed_compromised: int = 1,
        selected: Selected = "n-2f",
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, weights)
        self.selected = one_of("selected", Selected, selected)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """4f + 3."""
        return 4 * assumed_compromised + 3

    def combine(self, received: Submissions) -> Aggregation:
        """Select, then average near the median."""
        n, f = len(received), received.f
        count = n - 2 * f - (2 if self.selected == "n-2f-2" else 0)
        chosen = picked_in_turn(received.squared_distances, count, f)
        trust = received.rows.new_zeros(n)
        trust[chosen] = 1

        def reduce(block: Tensor) -> Tensor:
            values = ordered(block[chosen])
            return mean_nearest(values, middle(values), count - 2 * f)

        return seen(received.by_columns(reduce), trust)
