"""Noise instead of an update."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, Known, moments
from benchmark.utils.checks import one_of, positive
from benchmark.utils.randomness import generator

Form = Literal["instead", "around"]


class GaussianUpdate(Colluding):
    """All submit one draw of N(0, σ²); or of N(μ, σ_i²), as long as what each trained.

    μ and σ_i are mean and standard deviation of each coordinate over known updates.

    Args:
        sigma: σ of ``instead``, 0.001 to 10; 1 in published code, far longer than any update.
        form: ``instead`` of the update, or ``around`` the mean of known ones.
        known: as :class:`benchmark.attacks.colluding.Colluding`, for ``around``.

    Raises:
        ValueError: ``sigma`` is not positive, an unknown ``form`` or ``known``.
    """

    paper = "Blanchard et al. 2017, arXiv 1703.02757; Zhang et al. 2022 (FLDetector), code"

    def __init__(self, sigma: float = 1.0, form: Form = "instead", known: Known = "honest"):
        super().__init__("own" if form == "instead" else known)
        one_of("known", Known, known)
        self.sigma = positive("sigma", sigma)
        self.form = one_of("form", Form, form)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """One draw for all."""
        source = generator(context.seed, context.round, "gaussian noise")
        noise = torch.randn(updates.shape[1], generator=source).to(updates.device).double()
        if self.form == "instead":
            return self.sigma * noise
        center, spread = moments(rows)
        drawn = center + spread * noise
        lengths = torch.linalg.vector_norm(updates, dim=1, keepdim=True, dtype=torch.float64)
        return lengths * torch.nn.functional.normalize(drawn, dim=0, eps=1e-300)
