"""Bulyan: Krum again and again, then the values nearest the median of each coordinate."""

from typing import Literal

from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.multi_krum import picked_in_turn
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, by_columns, median, seen
from benchmark.utils.checks import one_of

Selected = Literal["n-2f", "n-2f-2"]


def mean_nearest(block: Tensor, center: Tensor, count: int) -> Tensor:
    """Mean of the ``count`` values of each column ``(n, b)`` that lie nearest ``center`` ``(b,)``.

    They are neighbors in the sorted column: those whose farthest lies nearest, and of such that
    tie the smaller.
    """
    ordered = block.sort(dim=0).values
    below = center - ordered[: len(block) - count + 1]
    above = ordered[count - 1 :] - center
    window = below.maximum(above).argmin(dim=0)
    total = ordered.gather(0, window[None])[0]
    for step in range(1, count):
        total = total + ordered.gather(0, window[None] + step)[0]
    return total / count


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
        rows, nearest = received.rows[chosen], count - 2 * f
        trust = received.rows.new_zeros(n)
        trust[chosen] = 1
        return seen(by_columns(rows, lambda b: mean_nearest(b, median(b), nearest)), trust)
