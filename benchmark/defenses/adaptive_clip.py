"""Clipping at a quantile that is tracked from round to round."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen
from benchmark.utils.checks import positive


def share(name: str, value: float) -> float:
    """A share above 0 and below 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}")
    return value


class AdaptiveClip(Streamed):
    """The weighted mean of Δ_k · min(1, C/e_k); C follows the γ-quantile of the lengths e_k.

    After the round C ← C · exp(−η_C (b̄ − γ)), b̄ the share with e_k ≤ C. A compromised minority
    moves b̄ by f/K a round at most. State: C. Cost: KP.

    >>> from benchmark.testing import aggregate
    >>> rows = [[3.0, 4.0], [0.0, 5.0], [0.0, 0.0], [6.0, 8.0]]
    >>> aggregate("adaptive_clip", rows, initial=5.0, quantile=0.5).update
    tensor([1.5000, 3.2500])

    Args:
        initial: C before the first round, in units of the update's norm; 0.01 to 10.
        quantile: γ; 0.1 to 0.95. 0.8 is the robust default of the paper's code, 0.5 that for
            privacy.
        rate: η_C; 0.01 to 1.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Andrew et al. 2021, NeurIPS, arXiv 1905.03871"
    is_weighted = True
    bound: Tensor

    def __init__(self, initial: float = 1.0, quantile: float = 0.8, rate: float = 0.2):
        super().__init__()
        self.initial, self.rate = positive("initial", initial), positive("rate", rate)
        self.quantile = share("quantile", quantile)
        self.register_buffer("bound", torch.tensor(initial, dtype=torch.float64))

    def look(self, received: Submissions) -> Part:
        """Clip at this round's bound, count who is within."""
        update = received.mean(received.weights * received.shrinkage(self.bound))
        return tally(received, update, within=(received.norms <= self.bound).double().sum())

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Move the bound."""
        bound, within = self.bound, found.sums["within"] / found.size
        self.bound = bound * torch.exp(-self.rate * (within - self.quantile))
        update = found.aggregation.update
        return seen(update, clip_bound=bound, clipped_fraction=1 - within)
