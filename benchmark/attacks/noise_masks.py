"""Noise that hides a backdoor in the output layer and cancels among those who submit it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.engine.client import Layer

FIRST = 0.05
"""Standard deviation of the noise at first."""
_PRICE = 0.1, 0.08, 0.1  # of small rows, of the noise's length, of the sum over a group
_STEPS, _RATE, _ASCENT = 30, 0.1, 0.1
_TINY = 1e-6  # what is shorter has no direction: it is what rounding left of a sum of 0


def optimized(rows: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """Noise of a group of g ``(g, r, c)``, centered and after 30 steps of SGD, rate 0.1.

    Each minimizes [α Σ_j 0.1/‖(Δ + noise)_j‖₁ + (1 − α) 0.08 ‖noise‖ + λ 0.1 ‖Σ noise‖]/(1 + λ),
    the last sum over the group; λ begins at 1 and rises by 0.1 ‖Σ noise‖ after each step.

    Args:
        rows: ``(r, c)``, those of Δ.
        noise: where it begins.
        alpha: α.

    Returns:
        In float64, as what nearly cancels is sensitive to rounding.
    """
    small, long, apart = _PRICE
    rows, noise = rows.double(), noise.double()
    found, price = noise - noise.mean(dim=0), 1.0
    for _ in range(_STEPS):
        with torch.enable_grad():
            found = found.detach().requires_grad_()
            sizes = (rows + found).abs().sum(dim=2)
            own = alpha * small * (1 / sizes).sum() + (1 - alpha) * long * _norms(found).sum()
            shared = apart * _norms(found.sum(dim=0, keepdim=True)).sum()
            loss = (own + price * shared) / (1 + price)
            (gradient,) = torch.autograd.grad(loss, found)
        found = found.detach() - _RATE * gradient
        price += _ASCENT * float(found.sum(dim=0).norm())
    return found


def _norms(noise: Tensor) -> Tensor:
    return (noise.flatten(1).square().sum(dim=1) + _TINY**2).sqrt()


def output_places(layers: Sequence[Layer]) -> Tensor:
    """Where each class's weights and bias lie in a flat vector, ``(classes, c)``."""
    found = []
    for layer in layers:
        if layer.is_output:
            places = torch.arange(layer.place.start, layer.place.stop)
            found.append(places.view(layer.shape[0], -1))
    return torch.cat(found, dim=1)
