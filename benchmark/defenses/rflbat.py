"""RFLBAT: principal components, clusters, and of those the one whose members differ most."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.clusters import kmeans, num_clusters, random_state
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, median, nobody
from benchmark.utils.checks import positive

MOST = 10
"""Clusters at most."""


class Rflbat(Rule):
    """Outliers out, then the cluster whose members are least alike, and its outliers out.

    The updates are centered and projected on their first two principal components, y_k. Kept is
    whose Σ_j ‖y_k − y_j‖ is below ε₁ times the median (or 0). The gap statistic (scaled to [0, 1]
    in each coordinate, dispersion Σ of distances to centers, 5 draws, 10 clusters at most) says
    how many clusters there are, k-means which. A cluster scores the median, over its members, of
    the mean cosine of the original updates to all members, itself included: one alone scores 1.
    The least score is kept, since backdoored updates are more alike; then ε₂ within it. The rest
    is averaged, weighted. Cost: K²P, K² memory, and K³ for the components.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 0.1], [1.0, -0.3], [1.0, 0.5], [1.1, -0.6], [-9.0, 0.0], [-9.0, 0.0]]
    >>> aggregate("rflbat", rows).trust
    tensor([1., 1., 1., 1., 0., 0.])

    Args:
        first: ε₁, in units of the median sum of distances; 3 to 30, 10 in the paper.
        second: ε₂, the same within the cluster; 1.5 to 10, 4 in the paper.

    Raises:
        ValueError: a bound is not positive; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Wang et al. 2022, arXiv 2201.03772"
    is_weighted = True

    def __init__(self, first: float = 10.0, second: float = 4.0):
        super().__init__()
        self.first, self.second = positive("first", first), positive("second", second)

    def combine(self, received: Submissions) -> Aggregation:
        """Project, cluster, choose, average."""
        context, points = received.context, plane(received.squared_distances)
        left = near(points, self.first).nonzero().flatten()
        where = context.seed, context.round, "defense clusters"
        if len(left) == 0:
            return nobody(received.rows)
        flat = points[left].cpu().numpy()
        count = num_clusters(flat, MOST, 5, lambda apart: float(apart.sum()), where)
        labels = kmeans(flat, count, random_state(*where))[0]
        clusters = [
            left[torch.from_numpy(labels == label).to(left.device)] for label in set(labels)
        ]
        # Of those that tie, the one with the client of the lowest index.
        clusters.sort(key=lambda members: int(members[0]))
        chosen = min(clusters, key=lambda members: likeness(1 - received.cosine_distances, members))
        kept = torch.zeros(len(received), dtype=torch.bool, device=left.device)
        kept[chosen[near(points[chosen], self.second)]] = True
        return received.keeping(kept, clusters=len(clusters))


def plane(squared_distances: Tensor) -> Tensor:
    """The first two principal components of centered rows, ``(n, 2)``, signs fixed."""
    half = squared_distances / -2
    inner = half - half.mean(dim=0) - half.mean(dim=1, keepdim=True) + half.mean()
    values, vectors = torch.linalg.eigh(inner)
    points = vectors.flip(1)[:, :2] * values.flip(0)[:2].clamp(min=0).sqrt()
    strongest = points.abs().argmax(dim=0, keepdim=True)
    points = points * torch.where(points.gather(0, strongest) < 0, -1, 1)
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))


def near(points: Tensor, bound: float) -> Tensor:
    """Whose distances to the others sum to less than ``bound`` medians, ``(n,)`` bool."""
    sums = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)
    return (sums < bound * median(sums)) | (sums == 0)


def likeness(cosines: Tensor, members: Tensor) -> float:
    """Median over the members of the mean cosine to all of them, each to itself by 1."""
    own = cosines[members][:, members].clone().fill_diagonal_(1)
    return float(median(own.mean(dim=1)))
