"""Clipping around the last aggregate."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import MEAN_BLOCK, row_norms, spread
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, seen
from benchmark.utils.checks import at_least, positive


class CenteredClipping(Rule):
    """v ← v + mean_k (Δ_k − v) · min(1, τ/‖Δ_k − v‖), L times, from the last round's v.

    The paper's guarantee is for clients with momentum, which ours have not. Cost: L·KP.
    State: v, P numbers, 0 at first.

    >>> from benchmark.testing import aggregate
    >>> aggregate("centered_clipping", [[1.0], [2.0], [10.0]], radius=2.0).update
    tensor([1.6667])

    Args:
        radius: τ, in units of the update's norm. The paper's 10 and 100 are for momenta.
        steps: L; 1 in the paper.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``radius`` is not positive, ``steps`` below 1; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Karimireddy et al. 2021, ICML, arXiv 2012.10333"
    center: Tensor

    def __init__(self, radius: float = 1.0, steps: int = 1, weights: Weights = "refuse"):
        super().__init__(weights=weights)
        self.radius, self.steps = positive("radius", radius), at_least("steps", 1, steps)

    def setup(self, setting: DefenseSetting) -> None:
        """Begin at 0."""
        super().setup(setting)
        self.register_buffer("center", torch.zeros(setting.num_parameters, dtype=torch.float64))

    def lengths(self, updates: Tensor, workers: int) -> Tensor:
        """‖Δ_k − v‖: the first step's, and the check that all is finite, in one pass."""
        return row_norms(updates, workers, self.center.to(updates.device))

    def combine(self, received: Submissions) -> Aggregation:
        """Move the center."""
        center, lengths = self.center.to(received.rows.device), received.norms
        for step in range(self.steps):
            if step:
                lengths = row_norms(received.rows, received.workers, center)
            shares = (self.radius / lengths).clamp(max=1) / len(received)
            moved, rest = received.mean(shares), float(1 - shares.sum())
            center = self._moved(center, moved, rest, received)
        self.center = center.to(self.center)
        clipped = (lengths > self.radius).double().mean()
        return seen(moved, clipped_fraction=clipped)

    def _moved(self, center: Tensor, moved: Tensor, rest: float, received: Submissions) -> Tensor:
        """The next center, also into ``moved`` in its precision; by blocks, on all cores."""
        found = torch.empty_like(center)

        def add(place: slice) -> None:
            torch.add(moved[place], center[place], alpha=rest, out=found[place])
            moved[place] = found[place]

        P = len(center)
        spread(add, [slice(i, i + MEAN_BLOCK) for i in range(0, P, MEAN_BLOCK)], received.workers)
        return found
