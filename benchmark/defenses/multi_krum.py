"""Multi-Krum: the mean of the updates that lie closest to their neighbors."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.krum import Krum, krum_scores
from benchmark.defenses.rule import Weights
from benchmark.defenses.submissions import Submissions
from benchmark.utils.checks import one_of

Selection = Literal["once", "iterative"]


class MultiKrum(Krum):
    """The mean of the m updates with the least scores of :class:`Krum`.

    With ``selection=once`` they are the m least of one scoring. With ``iterative`` the winner is
    taken out and the others scored again, while more than 2f + 2 are left (Shejwalkar and
    Houmansadr 2021). Needs n ≥ 2f + 3. Cost: K²P for the distances, K² memory.

    >>> from benchmark.testing import aggregate
    >>> rows = [[0.0], [1.0], [2.0], [3.0], [10.0]]
    >>> aggregate("multi_krum", rows, assumed_compromised=1, m=2).update
    tensor([1.5000])

    Args:
        assumed_compromised: f.
        m: how many; 0 stands for n − f, and of fewer clients all are taken.
        selection: ``once``, or ``iterative``, which has no m.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``m`` is negative, or an unknown ``selection``; or as :class:`Krum`.
    """

    def __init__(
        self,
        assumed_compromised: int = 1,
        m: int = 0,
        selection: Selection = "once",
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, weights)
        if m < 0:
            raise ValueError(f"m must be 0 (all but f) or more, got {m}")
        self.m = m
        self.selection = one_of("selection", Selection, selection)

    def combine(self, received: Submissions) -> Aggregation:
        """Average those that are selected."""
        n, f, distances = len(received), received.f, received.squared_distances
        if self.selection == "iterative":
            chosen = picked_in_turn(distances, n - 2 * f - 2, f)
        else:
            ranked = krum_scores(distances, n - f - 2).argsort(stable=True)
            chosen = ranked[: min(self.m or n - f, n)]
        kept = torch.zeros(n, dtype=torch.bool, device=chosen.device)
        kept[chosen] = True
        return received.unweighted().keeping(kept)


def picked_in_turn(squared_distances: Tensor, count: int, f: int) -> Tensor:
    """``count`` winners of Krum, each taken out before the others are scored again.

    With k left, max(1, k − f − 2) neighbors count.
    """
    n = len(squared_distances)
    # Sorted once; what is taken out leaves a gap that is closed.
    near, order = squared_distances.clone().fill_diagonal_(torch.inf).sort(dim=1)
    left, chosen = torch.arange(n, device=near.device), []
    for taken in range(count):
        best = int(near[:, : max(1, n - taken - f - 2)].sum(dim=1).argmin())
        chosen.append(left[best])
        others = left != left[best]
        stays = order[others] != left[best]
        near, order = near[others][stays], order[others][stays]
        near, order = (x.view(n - taken - 1, n - taken - 1) for x in (near, order))
        left = left[others]
    return torch.stack(chosen)
