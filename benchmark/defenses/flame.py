"""FLAME: keep the densest cluster, clip to the median norm, add noise to the model."""

from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import torch

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.clusters import densest
from benchmark.defenses.noise import standard_normal
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, median, nobody
from benchmark.utils.checks import one_of

On = Literal["models", "updates"]
AllNoise = Literal["reject", "keep"]


class Flame(Rule):
    """The mean of the densest cluster's Δ_k · min(1, S/e_k), with noise N(0, (λS)²) on the model.

    HDBSCAN on the cosine distances of the local models θ + Δ_k (the paper), min_cluster_size
    ⌊K/2⌋ + 1, min_samples 1, a single cluster allowed; S is the median of all norms e_k, those of
    the rejected too. The noise has the std λS on the model after the server's step, so the update
    gets it divided by the server rate η. If all are noise to HDBSCAN, nobody is left. Needs 3
    clients. Cost: K²P for the distances; a second (K, P).

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-3.0, 3.0]]
    >>> aggregate("flame", rows, noise=0.0).trust
    tensor([1., 1., 1., 0.])

    Args:
        noise: λ, a factor of S; 0.001 for images, 0.01 for intrusion data in the paper.
        on: whose cosines: ``models`` θ + Δ_k, or ``updates`` alone, which many report.
        all_noise: what becomes of a cohort without a cluster: ``reject`` or ``keep`` everybody.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``noise`` is negative or infinite, or an unknown choice; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Nguyen et al. 2022, USENIX Security, arXiv 2101.02281"
    exempt = MappingProxyType(
        {"a_cohort_that_agrees_gets_its_update": "the noise grows with the updates"}
    )

    def __init__(
        self,
        noise: float = 0.001,
        on: On = "models",
        all_noise: AllNoise = "reject",
        weights: Weights = "refuse",
    ):
        super().__init__(weights=weights)
        if not 0 <= noise < torch.inf:
            raise ValueError(f"noise must be at least 0 and finite, got {noise}")
        self.noise = noise
        self.on = one_of("on", On, on)
        self.all_noise = one_of("all_noise", AllNoise, all_noise)
        self.server_lr = 1.0

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def setup(self, setting: DefenseSetting) -> None:
        """Remember the server rate."""
        super().setup(setting)
        self.server_lr = setting.server_lr

    def combine(self, received: Submissions) -> Aggregation:
        """Cluster, clip, average, blur."""
        rows, n = received.rows, len(received)
        models = self.on == "models"
        kept = densest(
            received.model_distances if models else received.cosine_distances, n // 2 + 1, 1
        )
        if not kept.any():
            if self.all_noise == "reject":
                return nobody(rows, all_noise=1)
            kept = ~kept
        bound = median(received.norms)
        found = received.unweighted().keeping(kept, received.shrinkage(bound), bound=bound)
        std = self.noise * float(bound) / self.server_lr
        noise = standard_normal(found.update, received.context)
        return replace(found, update=found.update.add(noise, alpha=std))
