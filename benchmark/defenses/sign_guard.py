"""SignGuard: norms that are usual, and the largest cluster of the shares of signs."""

import warnings
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import MeanShift, estimate_bandwidth
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import products, row_norms
from benchmark.defenses.clusters import frugal, largest, random_state
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, median
from benchmark.utils.checks import one_of, positive
from benchmark.utils.randomness import generator

Fourth = Literal["none", "sim", "dist"]
EARLY = 3
"""Rounds in which there is no aggregate yet that would be worth comparing with."""


class SignGuard(Rule):
    """Keep usual norms and the largest cluster by shares of signs; clip to the median norm.

    By norm: ``low`` < e_k/med < ``high``. By signs: the shares of +, 0 and − in a random contiguous
    block of ⌊b·P⌋ coordinates, each divided by its largest over the clients + 10⁻⁸, in float64;
    MeanShift with the bandwidth of quantile 0.5 (of 50 clients at most), binned seeds, orphans in
    no cluster; a bandwidth of 0 is one cluster. Who passes both is clipped to the median of all
    norms and averaged, weighted. State: for ``similarity`` the last aggregate, P numbers. Cost: KP
    and a second (K, P); with ``similarity`` K²P in the first three rounds.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 1.0], [1.1, 1.0], [0.9, 1.0], [-1.0, -1.0], [9.0, 9.0]]
    >>> aggregate("sign_guard", rows, block=1.0).trust
    tensor([1., 1., 1., 0., 0.])

    Args:
        low: in units of the median norm; 0.01 to 0.5.
        high: the same; 1.5 to 10.
        block: b, a share of the coordinates, in (0, 1]; at least one is looked at.
        similarity: a fourth feature: ``none``, ``sim``, the cosine to the last aggregate (in the
            first three rounds the median of the cosines to the others), or ``dist``, the Euclidean
            distance in place of the cosine, divided as the shares are.

    Raises:
        ValueError: a number out of its range, or an unknown choice; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Xu et al. 2022, ICDCS, arXiv 2109.05872"
    is_weighted = True
    last: Tensor
    rounds_seen: Tensor

    def __init__(
        self, low: float = 0.1, high: float = 3.0, block: float = 0.1, similarity: Fourth = "none"
    ):
        super().__init__()
        if not 0 <= low < high < torch.inf:
            raise ValueError(f"low must be at least 0 and below a finite high, got {low}, {high}")
        if positive("block", block) > 1:
            raise ValueError(f"block must be at most 1, got {block}")
        self.low, self.high, self.block = low, high, block
        self.similarity = one_of("similarity", Fourth, similarity)

    def setup(self, setting: DefenseSetting) -> None:
        """Begin at 0."""
        super().setup(setting)
        width = 0 if self.similarity == "none" else setting.num_parameters
        self.register_buffer("last", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("rounds_seen", torch.zeros((), dtype=torch.int64))

    def combine(self, received: Submissions) -> Aggregation:
        """Judge norms and signs, clip, average."""
        bound = median(received.norms)
        usual = (received.norms > self.low * bound) & (received.norms < self.high * bound)
        features = sign_shares(self._drawn_block(received))
        if self.similarity != "none":
            features = torch.cat([features, self._fourth(received)[:, None]], dim=1)
        context = received.context
        state = random_state(context.seed, context.round, "defense clusters")
        kept = usual & mean_shifted(features, state)
        found = received.keeping(kept, received.shrinkage(bound), bound=bound)
        if self.similarity != "none":
            self.last = found.update.to(self.last)
            self.rounds_seen = self.rounds_seen + 1
        return found

    def _drawn_block(self, received: Submissions) -> Tensor:
        P, context = received.rows.shape[1], received.context
        width = max(int(self.block * P + 1e-9), 1)
        source = generator(context.seed, context.round, "defense coordinates")
        start = int(torch.randint(P - width + 1, (), generator=source))
        return received.rows[:, start : start + width]

    def _fourth(self, received: Submissions) -> Tensor:
        early = self.rounds_seen < EARLY
        last = self.last.to(received.rows.device)
        if self.similarity == "sim":
            if early:
                return of_others(received.cosines)
            lengths = received.norms * row_norms(last[None])
            along = products(received.rows, last, received.workers)
            return torch.where(lengths > 0, along / lengths, 0)
        if early:
            apart = of_others(received.squared_distances.sqrt())
        else:
            apart = row_norms(received.rows, received.workers, last)
        return apart / (apart.max() + 1e-8)


def sign_shares(block: Tensor) -> Tensor:
    """Shares of +, 0 and − in the rows of ``(n, b)``, over the largest: ``(n, 3)`` float64."""
    counts = [(block > 0).sum(dim=1), (block == 0).sum(dim=1), (block < 0).sum(dim=1)]
    shares = torch.stack(counts, dim=1).double() / block.shape[1]
    return shares / (shares.max(dim=0).values + 1e-8)


def of_others(pairs: Tensor) -> Tensor:
    """Median of each row of ``(n, n)`` without its own entry, ``(n,)``; 0 for one alone."""
    n = len(pairs)
    if n == 1:
        return torch.zeros_like(pairs[0])
    others = pairs[~torch.eye(n, dtype=torch.bool, device=pairs.device)].view(n, n - 1)
    return median(others.T)


@frugal()
def mean_shifted(features: Tensor, state: int) -> Tensor:
    """Who is in the largest cluster of MeanShift, ``(n,)`` bool, whatever their order.

    Shares are fractions of few coordinates: many points lie just at the bandwidth of a mean, whose
    last digit the order of a sum decides.
    """
    points = features.cpu().numpy()
    order = np.lexsort(points.T[::-1])
    points = points[order]
    bandwidth = estimate_bandwidth(points, quantile=0.5, n_samples=50, random_state=state)
    if bandwidth == 0:
        return torch.ones(len(points), dtype=torch.bool, device=features.device)
    with warnings.catch_warnings():
        # That every point has a bin of its own: then all are seeds, as without bins.
        warnings.filterwarnings("ignore", "Binning data failed", UserWarning)
        found = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False).fit(points)
    labels = np.empty(len(points), dtype=np.int64)
    labels[order] = found.labels_
    return largest(labels).to(features.device)
