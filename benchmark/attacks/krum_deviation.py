"""How far against the model's way an update may lie that Krum still picks."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.colluding import gram, moments, squared_distances, total

First = Literal["derived", "code"]
FULL, PARTIAL = 1e-5, 2e-5
"""λ at which the search ends, with full and with partial knowledge."""


def against_krum(honest: Tensor, own: Tensor, first: First) -> tuple[Tensor, bool]:
    """−λ s ``(P,)`` beside the honest ``(H, P)``, and whether Krum picks it."""
    sign = (total(honest) + total(own)).sign()
    H, M, P = len(honest), len(own), honest.shape[1]
    K, copies = H + M, CraftedCopies(honest, sign)
    squares = copies.among.clone().fill_diagonal_(torch.inf).sort(dim=1).values[:, : max(H - 2, 0)]
    spare = max(K - 2 * M - 1, 1)
    lengths = torch.linalg.vector_norm(honest, dim=1, dtype=torch.float64)
    if first == "derived":
        inside = float((squares.sum(dim=1).min() / (spare * P)).sqrt())
    else:
        inside = float(squares.sqrt().sum(dim=1).min() / (spare * P**0.5))
    scale = inside + float(lengths.max()) / P**0.5
    scale, is_picked = _halved(partial(copies.are_picked, M, K - M - 2, True), scale, FULL)
    return -scale * sign, is_picked


def against_krum_alone(own: Tensor) -> tuple[Tensor, bool]:
    """The same beside the own updates ``(M, P)``, M ≥ 2, and 1 to M − 1 copies."""
    M, sign = len(own), moments(own)[0].sign()
    copies, scale, is_picked = CraftedCopies(own, sign), 1.0, False
    for count in range(1, M):
        scale, is_picked = _halved(partial(copies.are_picked, count, M - 2, False), 1.0, PARTIAL)
        if is_picked:
            break
    return -scale * sign, is_picked


class CraftedCopies:
    """Some updates, and copies of −λ s beside them."""

    def __init__(self, rows: Tensor, sign: Tensor):
        center, n = moments(rows)[0], len(rows)
        products = gram(rows, center, sign, center)
        self.among = squared_distances(products[:n, :n])
        # −λ s − x_k = (c − x_k) − (λ s + c)
        self.fixed = products[:n, :n].diagonal() - 2 * products[:n, n + 1] + products[-1, -1]
        self.linear = 2 * (products[n, n + 1] - products[:n, n])
        self.square = products[n, n]

    def are_picked(self, count: int, neighbors: int, first: bool, scale: float) -> bool:
        """Whether Krum picks one of ``count`` copies; where they tie with rows, if ``first``."""
        n = len(self.fixed)
        apart = (self.fixed + scale * self.linear + scale**2 * self.square).clamp(min=0)
        distances = self.among.new_zeros(n + count, n + count)
        distances[:n, :n] = self.among
        distances[n:, :n], distances[:n, n:] = apart, apart[:, None]
        distances.fill_diagonal_(torch.inf)
        scores = distances.sort(dim=1).values[:, : max(neighbors, 1)].sum(dim=1)
        crafted, rest = scores[n:].min(), scores[:n].min()
        return bool(crafted <= rest if first else crafted < rest)


def _halved(accepts: Callable[[float], bool], first: float, last: float) -> tuple[float, bool]:
    scale = first
    while not (accepted := accepts(scale)) and scale > last:
        scale /= 2
    return scale, accepted
