"""Robust learning rate: where too few agree on a sign, the server steps back."""

import math

import torch

from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen


class Rlr(Streamed):
    """The weighted mean, times −1 in each coordinate where |Σ_k sign Δ_k| < t, t = ⌈share · n⌉.

    Exactly t is not flipped. The authors take 4 of 10, 8 of 40 and 8 of 33 clients. With n even
    and odd other sums can be reached. Cost: KP.

    >>> from benchmark.testing import aggregate
    >>> aggregate("rlr", [[1.0, 1.0], [2.0, -1.0], [3.0, 5.0]], share=1.0).update
    tensor([ 2.0000, -1.6667])

    Args:
        share: of the cohort that must agree, net of those who do not; above 0, to 1.

    Raises:
        ValueError: ``share`` is out of its range.
    """

    paper = "Özdayi et al. 2021, AAAI, arXiv 2007.03767"
    is_weighted = True

    def __init__(self, share: float = 0.4):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.share = share

    def look(self, received: Submissions) -> Part:
        """Average, count signs."""
        votes = received.by_columns(lambda block: block.sign().sum(dim=0))
        return tally(received, received.mean(), votes=votes)

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Flip."""
        # A share of 0.3 of 10 is 3, whatever the rounding of the product.
        threshold = math.ceil(self.share * found.size - 1e-9)
        flipped = found.sums["votes"].abs() < threshold
        update = found.aggregation.update
        return seen(torch.where(flipped, -update, update), flipped_fraction=flipped.double().mean())
