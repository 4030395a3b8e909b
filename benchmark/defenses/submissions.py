"""The updates of a round as rules see them: finite, with norms and distances computed once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext
from benchmark.defenses.blocks import by_columns, gram, mean, ordered, products, row_norms, spread


@dataclass(frozen=True)
class Submissions:
    """What n clients sent, all of it finite.

    Attributes:
        rows: ``(n, P)``.
        weights: ``(n,)``, sum 1.
        clients: ``(n,)`` identities.
        f: how many of them the server reckons to be compromised.
        context: what else the server knows.
        workers: on how many threads passes over the rows are spread.
        lengths: ``(n,)`` float64, norms of the rows, if they are known.
    """

    rows: Tensor
    weights: Tensor
    clients: Tensor
    f: int
    context: DefenseContext
    workers: int = 1
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def norms(self) -> Tensor:
        """e_k = ‖Δ_k‖₂, ``(n,)`` float64."""
        return row_norms(self.rows, self.workers) if self.lengths is None else self.lengths

    @cached_property
    def gram(self) -> Tensor:
        """⟨Δ_i, Δ_j⟩, ``(n, n)`` float64. K²P multiplications, K² numbers beside a block."""
        return gram(self.rows, workers=self.workers)

    @cached_property
    def squared_distances(self) -> Tensor:
        """‖Δ_i − Δ_j‖², ``(n, n)`` float64, from the Gram matrix around the row of median norm."""
        return squared_distances(self.rows, self.norms, self.workers)

    @cached_property
    def cosines(self) -> Tensor:
        """cos(Δ_i, Δ_j), ``(n, n)`` float64, 0 where a row is 0."""
        return cosines(self.gram)

    @cached_property
    def cosine_distances(self) -> Tensor:
        """1 − cos(Δ_i, Δ_j), ``(n, n)`` float64; see :func:`cosine_distances`."""
        return cosine_distances(self.squared_distances, self.norms.square())

    @cached_property
    def model_gains(self) -> Tensor:
        """‖θ + Δ_k‖² − ‖θ‖², ``(n,)`` float64: small beside what it is added to."""
        theta = self.context.theta.to(self.rows.device)
        return 2 * products(self.rows, theta, self.workers) + self.norms.square()

    @cached_property
    def model_distances(self) -> Tensor:
        """1 − cos(θ + Δ_i, θ + Δ_j), ``(n, n)`` float64; see :func:`cosine_distances`."""
        return cosine_distances(self.squared_distances, self.model_gains, self.theta_square)

    @cached_property
    def theta_square(self) -> Tensor:
        """‖θ‖², float64."""
        return row_norms(self.context.theta.to(self.rows.device)[None])[0].square()

    def shrinkage(self, bound: Tensor) -> Tensor:
        """min(1, S/e_k), ``(n,)`` float64; 1 for a row of 0."""
        return torch.where(self.norms > bound, bound / self.norms, 1)

    def scaled(self, factors: Tensor) -> Tensor:
        """s_k Δ_k, ``(n, P)``."""
        rows, scale = torch.empty_like(self.rows), factors.to(self.rows)

        def shrink(k: int) -> None:
            torch.mul(self.rows[k], scale[k], out=rows[k])

        spread(shrink, range(len(self)), self.workers)
        return rows

    def mean(self, weights: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """Σ_k w_k s_k Δ_k, ``(P,)``, with their own weights where none are given."""
        return mean(self.rows, self.weights if weights is None else weights, scale, self.workers)

    def by_columns(self, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """``reduce`` of blocks of columns ``(n, b)`` → ``(b,)``, put together: ``(P,)``."""
        return by_columns(self.rows, reduce, self.workers)

    def keeping(
        self, kept: Tensor, scale: Tensor | None = None, **info: float | Tensor
    ) -> Aggregation:
        """The weighted mean of those that are kept.

        Args:
            kept: ``(n,)`` bool.
            scale: ``(n,)``, by what each of them is multiplied.
            info: what was seen.
        """
        weights = self.weights * kept
        total = weights.sum()
        if total == 0:
            return nobody(self.rows, **info)
        shares = weights / total
        update = self.mean(shares if scale is None else shares * scale)
        return seen(update, kept.to(self.rows.dtype), **info)

    def unweighted(self) -> "Submissions":
        """With the same weight for everybody."""
        return replace(self, weights=torch.full_like(self.weights, 1 / len(self)))


def seen(update: Tensor, trust: Tensor | None = None, **info: float | Tensor) -> Aggregation:
    """An aggregation; ``info`` are plain numbers."""
    told = {name: torch.tensor(float(value), dtype=torch.float64) for name, value in info.items()}
    return Aggregation(update, trust, told)


def nobody(rows: Tensor, **info: float | Tensor) -> Aggregation:
    """Everybody is rejected: the model stays as it is."""
    update, trust = rows.new_zeros(rows.shape[1]), rows.new_zeros(len(rows))
    return seen(update, trust, all_rejected=1, **info)


def cosines(inner: Tensor) -> Tensor:
    """cos from a Gram matrix ``(n, n)``, 0 where a row is 0."""
    lengths = inner.diagonal().clamp(min=0).sqrt()
    products = lengths[:, None] * lengths[None, :]
    return torch.where(products > 0, inner / products, 0).clamp(-1, 1)


def squared_distances(rows: Tensor, lengths: Tensor, workers: int = 1) -> Tensor:
    """‖x_i − x_j‖² of the rows of ``(n, P)``, ``(n, n)`` float64, given their norms ``(n,)``."""
    center = rows[lengths.argsort(stable=True)[len(rows) // 2]]
    inner = gram(rows, center, workers)
    own = inner.diagonal()
    return (own[:, None] + own[None, :] - 2 * inner).clamp(min=0).fill_diagonal_(0)


def cosine_distances(
    squared_distances: Tensor, squares: Tensor, base: Tensor | float = 0.0
) -> Tensor:
    """1 − cos(x_i, x_j), ``(n, n)`` float64, never from a cosine that is nearly 1.

    It is (‖x_i − x_j‖² − (‖x_i‖ − ‖x_j‖)²) / (2 ‖x_i‖ ‖x_j‖); 1 where a row is 0, and
    0 on the diagonal.

    Args:
        squared_distances: ``(n, n)``.
        squares: ‖x_i‖² less ``base``, ``(n,)``.
        base: what all have in common, which may be much.
    """
    lengths = (base + squares).clamp(min=0).sqrt()
    sums = lengths[:, None] + lengths[None, :]
    apart = torch.where(sums > 0, (squares[:, None] - squares[None, :]) / sums, 0)
    areas = lengths[:, None] * lengths[None, :]
    found = torch.where(areas > 0, (squared_distances - apart.square()) / (2 * areas), 1)
    return found.clamp(0, 2).fill_diagonal_(0)


def deviations(scores: Tensor) -> Tensor:
    """|x − med|/std of ``(n,)``, with the population's std; all 0 where it is, up to rounding.

    >>> deviations(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    tensor([0.4243, 0.1414, 0.1414, 2.1213])
    """
    std = scores.std(correction=0)
    if std <= 1e-12 * scores.abs().max():
        return torch.zeros_like(scores)
    return (scores - median(scores)).abs() / std


def median(values: Tensor) -> Tensor:
    """The true median of ``(n,)`` or ``(n, b)`` over n: the mean of the middle two where n is even.

    >>> median(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    tensor(2.5000)
    """
    return middle(values.sort(dim=0).values if values.dim() == 1 else ordered(values))


def middle(ordered: Tensor) -> Tensor:
    """The median of what is sorted, ``(n, ...)`` over n."""
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
