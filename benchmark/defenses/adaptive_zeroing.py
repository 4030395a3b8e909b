"""Zeroing at a quantile that is tracked from round to round."""

import math

import torch
from torch import Tensor

from benchmark.defenses.adaptive_clip import share
from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.blocks import spread
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen
from benchmark.utils.checks import positive


class AdaptiveZeroing(Streamed):
    """Rows with a coordinate beyond B = 2C + 1 become 0 and still count in the mean.

    C follows the γ-quantile of max_i |Δ_ki| as in :class:`AdaptiveClip`. State: C. Cost: KP.

    >>> from benchmark.testing import aggregate
    >>> aggregate("adaptive_zeroing", [[2.0], [4.0], [30.0]]).update
    tensor([2.])

    Args:
        initial: C before the first round, in units of a coordinate.
        quantile: γ.
        rate: η_C; ln 10 in its code.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Andrew et al. 2021, NeurIPS, arXiv 1905.03871; TensorFlow Federated's zeroing"
    is_weighted = True
    level: Tensor

    def __init__(self, initial: float = 10.0, quantile: float = 0.98, rate: float = math.log(10)):
        super().__init__()
        self.initial, self.rate = positive("initial", initial), positive("rate", rate)
        self.quantile = share("quantile", quantile)
        self.register_buffer("level", torch.tensor(initial, dtype=torch.float64))

    def look(self, received: Submissions) -> Part:
        """Zero at this round's bound, count who is below the level."""
        level, rows = self.level, received.rows
        largest = torch.stack(spread(_largest, rows, received.workers)).double()
        kept = largest <= 2 * level + 1
        within = (largest <= level).double().sum()
        return tally(received, received.mean(received.weights * kept), kept.to(rows), within=within)

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Move the level."""
        level, within = self.level, found.sums["within"] / found.size
        self.level = level * torch.exp(-self.rate * (within - self.quantile))
        update, trust = found.aggregation.update, found.aggregation.trust
        return seen(update, trust, zeroing_bound=2 * level + 1)


def _largest(row: Tensor) -> Tensor:
    low, high = row.aminmax()
    return high.maximum(-low)
