"""Multi-metrics: those that lie near the others by three distances, whitened."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pdist

from benchmark.defenses import passes
from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import summed
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, cosine_distances
from benchmark.utils.checks import one_of

On = Literal["updates", "models"]
Features = Literal["pairwise", "paper"]


class MultiMetrics(Rule):
    """The weighted mean of the ⌊p·K⌋ clients with the least score F_i Σ⁻¹ F_iᵀ.

    F_i are three sums over the others: ‖x_i − x_j‖₁, |‖x_i‖ − ‖x_j‖| and (1 − cos(x_i, x_j))²;
    Σ is the covariance of F over the cohort (divided by K − 1), a pseudo-inverse stands for that
    of a singular one, and F is not centered. x are the updates, or ``on=models`` the local models
    θ + Δ (the authors' code), whose common part hides all. Under ``features=paper`` each metric is
    first taken against the global model, m_i = (‖Δ_i‖₁, ‖Δ_i‖₂, cos(θ + Δ_i, θ)), and F_i are the
    sums of |m_i − m_j|, which has no ``on``. No f. Needs 5 clients. Cost: K²P elementwise, the
    most expensive rule here; K² memory beside a block.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 1.1], [1.1, 1.0], [0.9, 1.0], [1.0, 1.0], [-5.0, 5.0]]
    >>> aggregate("multi_metrics", rows, share=0.8).trust[4]
    tensor(0.)

    Args:
        share: p, in (0, 1]; at least one client is kept.
        on: what x is: ``updates`` or ``models``.
        features: ``pairwise`` (the authors' code) or ``paper`` (its text).

    Raises:
        ValueError: ``share`` is out of its range, or an unknown choice; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Huang et al. 2023, ICCV, arXiv 2303.06601"
    is_weighted = True

    def __init__(self, share: float = 0.3, on: On = "updates", features: Features = "pairwise"):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.share = share
        self.on = one_of("on", On, on)
        self.features = one_of("features", Features, features)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """5."""
        return 5

    def combine(self, received: Submissions) -> Aggregation:
        """Score, keep, average."""
        n = len(received)
        told = self._against_the_model if self.features == "paper" else self._between
        scores = whitened_squares(told(received))
        kept = torch.zeros(n, dtype=torch.bool, device=scores.device)
        count = max(math.floor(self.share * n + 1e-9), 1)
        kept[scores.argsort(stable=True)[:count]] = True
        return received.keeping(kept)

    def _between(self, received: Submissions) -> Tensor:
        if self.on == "models":
            lengths = (received.theta_square + received.model_gains).clamp(min=0).sqrt()
            angles = received.model_distances
        else:
            lengths, angles = received.norms, received.cosine_distances
        apart = (lengths[:, None] - lengths[None, :]).abs()
        columns = manhattan(received.rows, received.workers), apart, angles.square()
        return torch.stack([column.sum(dim=1) for column in columns], dim=1)

    def _against_the_model(self, received: Submissions) -> Tensor:
        sums = torch.stack([row.norm(p=1, dtype=torch.float64) for row in received.rows])
        # The model itself is one more row, whose update is 0.
        squares = torch.cat([received.model_gains, received.model_gains.new_zeros(1)])
        apart = torch.zeros(len(squares), len(squares)).to(squares)
        apart[-1, :-1] = received.norms.square()
        turned = cosine_distances(apart, squares, received.theta_square)[-1, :-1]
        metrics = torch.stack([sums, received.norms, turned], dim=1)
        return torch.stack([(metrics - own).abs().sum(dim=0) for own in metrics])


def manhattan(rows: Tensor, workers: int = 1) -> Tensor:
    """‖x_i − x_j‖₁ of the rows of ``(n, P)``: ``(n, n)`` float64."""
    n, served = len(rows), passes.serves(rows)
    above = torch.triu_indices(n, n, 1, device=rows.device)

    def add(place: slice, total: Tensor) -> None:
        if served:
            passes.manhattan(rows[:, place], total)
        else:
            # Of each pair once, which torch does five times as fast as of both orders.
            total[*above] += pdist(rows[:, place].double(), p=1)

    shape = passes.pairs_shape(n)
    upper = summed(rows, shape, add, workers, whole=served)[:n, :n].triu()
    return upper + upper.T


def whitened_squares(features: Tensor) -> Tensor:
    """F_i Σ⁻¹ F_iᵀ, ``(n,)``, of features ``(n, d)`` with their covariance."""
    spread = features.std(dim=0)
    # To one unit first: what is singular shall not hang on how large a metric's numbers are.
    scaled = torch.where(spread > 0, features / spread, 0)
    inverse = torch.linalg.pinv(torch.cov(scaled.T), hermitian=True)
    return ((scaled @ inverse) * scaled).sum(dim=1)
