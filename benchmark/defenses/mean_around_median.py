"""The mean of each coordinate's values that lie nearest its middle."""

from typing import Literal

from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import ordered
from benchmark.defenses.bulyan import mean_nearest
from benchmark.defenses.rule import MajorityRule, Weights
from benchmark.defenses.submissions import Submissions, middle, seen
from benchmark.defenses.trimmed_mean import trimmed
from benchmark.utils.checks import one_of

Around = Literal["median", "trimmed_mean"]


class MeanAroundMedian(MajorityRule):
    """Per coordinate the mean of the n − f values nearest the median (MeaMed). Needs n ≥ 2f + 1.

    With ``around=trimmed_mean`` it is Phocas (Xie et al. 2018, arXiv 1805.09682). Cost:
    KP log K, one block of columns.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0], [2.0], [3.0], [10.0]]
    >>> aggregate("mean_around_median", rows, assumed_compromised=1).update
    tensor([2.])

    Args:
        assumed_compromised: f.
        around: ``median`` or ``trimmed_mean``.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: an unknown ``around``; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Xie et al. 2018, arXiv 1802.10116"

    def __init__(
        self,
        assumed_compromised: int = 1,
        around: Around = "median",
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, weights)
        self.around = one_of("around", Around, around)

    def combine(self, received: Submissions) -> Aggregation:
        """Column by column."""

        def reduce(block: Tensor) -> Tensor:
            values, f = ordered(block), received.f
            center = middle(values) if self.around == "median" else trimmed(values, f)
            return mean_nearest(values, center, len(values) - f)

        return seen(received.by_columns(reduce))
