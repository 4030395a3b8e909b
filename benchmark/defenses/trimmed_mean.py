"""The mean of each coordinate without its extremes."""

from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import ordered
from benchmark.defenses.rule import MajorityRule
from benchmark.defenses.submissions import Submissions, seen


def trimmed(ordered: Tensor, f: int) -> Tensor:
    """Mean of each sorted column ``(n, b)`` without its f highest and f lowest values."""
    return ordered[f : len(ordered) - f].mean(dim=0)


class TrimmedMean(MajorityRule):
    """Per coordinate the mean without the f highest and the f lowest values. Needs n ≥ 2f + 1.

    Cost: KP log K, one block of columns.

    >>> from benchmark.testing import aggregate
    >>> aggregate("trimmed_mean", [[1.0], [2.0], [3.0], [10.0]], assumed_compromised=1).update
    tensor([2.5000])

    Args:
        assumed_compromised: f.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Yin et al. 2018, ICML, arXiv 1803.01498"

    def combine(self, received: Submissions) -> Aggregation:
        """Column by column."""
        return seen(received.by_columns(lambda block: trimmed(ordered(block), received.f)))
