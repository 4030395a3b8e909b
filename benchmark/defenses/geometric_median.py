"""The point with the least sum of distances to all updates."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import gram
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, seen
from benchmark.utils.checks import positive

MOST_STEPS = 1000


class GeometricMedian(Rule):
    """arg min_z Σ_k w_k ‖Δ_k − z‖ (RFA) by smoothed Weiszfeld steps from the weighted mean.

    z ← Σ_k β_k Δ_k / Σ_k β_k with β_k = w_k / max(ν, ‖Δ_k − z‖). It ends where the objective
    changes by less than 10⁻¹⁰ of itself and z by less than 10⁻⁸ of the median distance from the
    update of median norm, after 1,000 steps at the latest. z stays a mixture of the updates, so the
    steps take K² each on their inner products, and P is met twice. Cost: K²P, K² memory.

    >>> from benchmark.testing import aggregate
    >>> rows = [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [3.0, 4.0]]
    >>> bool(aggregate("geometric_median", rows).update.norm() < 1e-3)
    True

    Args:
        smoothing: ν, in units of the update's norm; the paper has 1e-6.
        steps: a fixed number of them; the paper's experiments take 3. 0: until it has converged.

    Raises:
        ValueError: ``smoothing`` is not positive, or ``steps`` negative.
    """

    paper = "Pillutla et al. 2022, IEEE TSP, arXiv 1912.13445"
    is_weighted = True

    def __init__(self, smoothing: float = 1e-6, steps: int = 0):
        super().__init__()
        self.smoothing = positive("smoothing", smoothing)
        if steps < 0:
            raise ValueError(f"steps must be 0 (until it has converged) or more, got {steps}")
        self.steps = steps

    def combine(self, received: Submissions) -> Aggregation:
        """Find the mixture, then mix."""
        weights = received.weights.double()
        # Around an update that is not long: what lies far off would hide the others' distances.
        middle = received.rows[received.norms.argsort(stable=True)[len(received) // 2]]
        inner = gram(received.rows, middle, received.workers)
        scale = inner.diagonal().clamp(min=0).median().sqrt() + self.smoothing
        mixture, objective = weights, torch.tensor(torch.inf, dtype=torch.float64)
        taken = 0
        while taken < (self.steps or MOST_STEPS):
            taken += 1
            beta = weights / _distances(inner, mixture).clamp(min=self.smoothing)
            following = beta / beta.sum()
            moved = _length(inner, following - mixture)
            before, mixture = objective, following
            objective = (weights * _distances(inner, mixture)).sum()
            settled = (before - objective).abs() <= 1e-10 * objective and moved <= 1e-8 * scale
            if settled and not self.steps:
                break
        return seen(received.mean(mixture), weiszfeld_steps=taken)


def _distances(inner: Tensor, mixture: Tensor) -> Tensor:
    """‖x_k − Σ_j a_j x_j‖ with Σ a = 1, from inner products: d_k² = G_kk − 2(G a)_k + aᵀ G a."""
    toward = inner @ mixture
    return (inner.diagonal() - 2 * toward + mixture @ toward).clamp(min=0).sqrt()


def _length(inner: Tensor, difference: Tensor) -> Tensor:
    """‖Σ_j b_j x_j‖, from inner products."""
    return (difference @ inner @ difference).clamp(min=0).sqrt()
