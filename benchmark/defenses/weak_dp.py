"""Weak differential privacy: clip, average, add a little noise."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import DefenseContext
from benchmark.defenses.composed import After, Composed, Received
from benchmark.defenses.noise import standard_normal
from benchmark.defenses.norm_clip import Clip
from benchmark.utils.checks import one_of

NoiseOn = Literal["average", "sum"]


class GaussianNoise(After):
    """Adds N(0, s²) to every coordinate: s = σ on the average, s = σ/K on the sum."""

    def __init__(self, noise_std: float, noise_on: NoiseOn):
        super().__init__()
        if not 0 <= noise_std < torch.inf:
            raise ValueError(f"noise_std must be at least 0 and finite, got {noise_std}")
        self.noise_std = noise_std
        self.noise_on = one_of("noise_on", NoiseOn, noise_on)

    def forward(self, update: Tensor, received: Received, context: DefenseContext) -> Tensor:
        """Noise drawn from (seed, round) alone, where the update is: a GPU draws other bits."""
        std = self.noise_std
        if self.noise_on == "sum":
            std /= len(received.updates)
        return update + standard_normal(update, context) * std


class WeakDP(Composed):
    """Clip to M, average, add Gaussian noise: Σ_k w_k Δ_k min(1, M/‖Δ_k‖₂) + N(0, s² I).

    The noise is too small for a meaningful (ε, δ); it is there to blur backdoors.

    Args:
        norm_bound: M; 5 in the paper.
        noise_std: σ, a standard deviation; 0.025 in the paper, where the text leaves open
            what it is measured on.
        noise_on: ``average``, s = σ (DP-FedAvg's convention), or ``sum``, s = σ/K (the paper's
            code).

    Raises:
        ValueError: ``norm_bound`` is not positive, ``noise_std`` is negative, or an unknown
            ``noise_on``.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 5, (weak) differential privacy"

    def __init__(
        self, norm_bound: float = 5.0, noise_std: float = 0.025, noise_on: NoiseOn = "average"
    ):
        super().__init__(before=[Clip(norm_bound)], after=[GaussianNoise(noise_std, noise_on)])
