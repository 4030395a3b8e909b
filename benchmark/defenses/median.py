"""The median of each coordinate."""

from benchmark.defenses.base import Aggregation
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, median, seen


class Median(Rule):
    """Per coordinate the true median: the mean of the middle two where n is even.

    Cost: KP log K, one block of columns.

    >>> from benchmark.testing import aggregate
    >>> aggregate("median", [[1.0], [2.0], [3.0], [10.0]]).update
    tensor([2.5000])

    Args:
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Yin et al. 2018, ICML, arXiv 1803.01498"

    def __init__(self, weights: Weights = "refuse"):
        super().__init__(weights=weights)

    def combine(self, received: Submissions) -> Aggregation:
        """Column by column."""
        return seen(received.by_columns(median))
