"""The line μ + γ p through the mean of known updates, and how far along it one may go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.colluding import gram, moments, squared_distances

Direction = Literal["unit", "std", "sign"]
Solver = Literal["closed", "search"]
FIRST, TOLERANCE = 10.0, 1e-5
"""Of the published search: what it tries first, and where it stops."""


def directions(center: Tensor, spread: Tensor, direction: Direction) -> Tensor:
    """p: −μ/‖μ‖, −σ or −sign μ; 0 where the mean is."""
    if direction == "unit":
        return -torch.nn.functional.normalize(center, dim=0, eps=1e-300)
    return -spread if direction == "std" else -center.sign()


@dataclass(frozen=True)
class Deviation:
    """m(γ) = μ + γ p, with ‖m(γ) − x_i‖² = ‖d_i‖² + 2γ d_i·p + γ² ‖p‖², d_i = μ − x_i.

    Attributes:
        center: μ ``(P,)`` of the rows.
        toward: p ``(P,)``.
        squares: ‖d_i‖² ``(n,)``.
        along: d_i · p ``(n,)``.
        length: ‖p‖².
        pairs: ‖x_i − x_j‖² ``(n, n)``.
    """

    center: Tensor
    toward: Tensor
    squares: Tensor
    along: Tensor
    length: float
    pairs: Tensor

    @staticmethod
    def of(rows: Tensor, direction: Direction) -> "Deviation":
        """Through the mean of ``(n, P)``; σ has the divisor n − 1, as in the published code."""
        center, spread = moments(rows, ddof=1)
        toward = directions(center, spread, direction)
        products, n = gram(rows, center, toward), len(rows)
        return Deviation(
            center=center,
            toward=toward,
            squares=products.diagonal()[:n],
            along=products[:n, n],
            length=float(products[n, n]),
            pairs=squared_distances(products[:n, :n]),
        )

    def at(self, gamma: float) -> Tensor:
        """m(γ) ``(P,)``."""
        return self.center + gamma * self.toward

    def distances(self, gamma: float) -> Tensor:
        """‖m(γ) − x_i‖² ``(n,)``."""
        return self.squares + 2 * gamma * self.along + gamma**2 * self.length


def halved(accepts: Callable[[float], bool]) -> float:
    """The largest γ found that is accepted: from 10 up or down by 5, 2.5, … until 10⁻⁵; below 20.

    >>> abs(halved(lambda gamma: gamma <= 3.0) - 3) < 2e-5
    True
    """
    found, tried, step = 0.0, FIRST, FIRST
    while abs(found - tried) > TOLERANCE:
        step /= 2
        if accepts(tried):
            found, tried = tried, tried + step
        else:
            tried -= step
    return found
