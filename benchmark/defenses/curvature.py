"""What earlier rounds say of the loss's curvature."""

from functools import cached_property

import torch
from torch import Tensor

from benchmark.defenses.submissions import gram, products


class LBfgs:
    """The compact L-BFGS Hessian of pairs (s_i, y_i), the oldest first; Byrd et al. 1994.

    B = σI − [σS Y] M⁻¹ [σS Y]ᵀ with M = [[σSᵀS, L], [Lᵀ, −D]], σ = sᵀy/sᵀs of the last pair, L the
    strictly lower part of SᵀY and D its diagonal. 0 without pairs.

    >>> LBfgs(torch.eye(2), torch.diag(torch.tensor([2.0, 3.0]))).times(torch.ones(2))
    tensor([2., 3.], dtype=torch.float64)

    Args:
        moves: s_i, ``(m, P)``.
        changes: y_i, ``(m, P)``.
    """

    def __init__(self, moves: Tensor, changes: Tensor):
        self.moves, self.changes = moves, changes

    @cached_property
    def inner(self) -> Tensor:
        """All products of the rows of S and Y, ``(2m, 2m)`` float64."""
        return gram(torch.cat([self.moves, self.changes]))

    @cached_property
    def sigma(self) -> Tensor:
        """The curvature along the last pair."""
        m = len(self.moves)
        return self.inner[m - 1, -1] / self.inner[m - 1, m - 1]

    @cached_property
    def middle(self) -> Tensor:
        """M, ``(2m, 2m)``."""
        m = len(self.moves)
        across = self.inner[:m, m:]
        lower, diagonal = across.tril(-1), across.diagonal().diag()
        above = torch.cat([self.sigma * self.inner[:m, :m], lower], dim=1)
        return torch.cat([above, torch.cat([lower.T, -diagonal], dim=1)])

    @property
    def is_sound(self) -> bool:
        """Whether yᵀs of the last pair is above 0, by more than 10⁻¹² of ‖y‖‖s‖.

        Where this holds for every pair, M is not singular.
        """
        m = len(self.moves)
        lengths = (self.inner[m - 1, m - 1] * self.inner[-1, -1]).sqrt()
        return bool(self.inner[m - 1, -1] > 1e-12 * lengths)

    def times(self, vector: Tensor) -> Tensor:
        """B v, ``(P,)`` float64."""
        if len(self.moves) == 0:
            return torch.zeros_like(vector, dtype=torch.float64)
        told = [self.sigma * products(self.moves, vector), products(self.changes, vector)]
        along, across = torch.linalg.solve(self.middle, torch.cat(told)).chunk(2)
        result = self.sigma * vector.double()
        for factors, rows in ((self.sigma * along, self.moves), (across, self.changes)):
            for factor, row in zip(factors, rows, strict=True):
                result -= factor * row
        return result
