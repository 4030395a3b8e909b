"""FreqFed: the densest cluster of the models' low frequencies."""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import products, row_norms, spread
from benchmark.defenses.clusters import densest
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import (
    Submissions,
    cosine_distances,
    nobody,
    squared_distances,
)
from benchmark.engine.client import Layer
from benchmark.utils.checks import one_of

Reading = Literal["paper", "port"]


class FreqFed(Rule):
    """The plain mean of the largest cluster of low frequencies of the local models.

    Each tensor of θ + Δ_k is a matrix (out, rest), M × N, a bias one column. Of its orthonormal
    DCT-II in both directions those with i < ⌊M/2⌋, j < ⌊N/2⌋ and i + j ≤ (⌊M/2⌋ + ⌊N/2⌋)/2 count,
    halves being at least 1. HDBSCAN on the cosine distances of what counts: min_cluster_size
    ⌊K/2⌋ + 1, min_samples 1, a single cluster allowed. If all are noise, nobody is left. There is
    no official code. Needs 3 clients. Cost: KP log P and K²P/8; memory of KP/8 numbers.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-3.0, 3.0]]
    >>> aggregate("freqfed", rows, layers={"weight": (2, 1)}).trust
    tensor([1., 1., 1., 0.])

    Args:
        reading: ``paper``, or ``port``: only the last tensor of two axes or more, min_cluster_size
            and min_samples 2 (secretflow).
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: an unknown ``reading``, or no tensor of two axes for the ``port``; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Fereidooni et al. 2024, NDSS, arXiv 2312.04432"

    def __init__(self, reading: Reading = "paper", weights: Weights = "refuse"):
        super().__init__(weights=weights)
        self.reading = one_of("reading", Reading, reading)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def setup(self, setting: DefenseSetting) -> None:
        """Find the tensors that are compared."""
        super().setup(setting)
        self.layers = setting.layers
        if self.reading == "port":
            self.layers = tuple(x for x in setting.layers if len(x.shape) > 1)[-1:]
            if not self.layers:
                raise ValueError("FreqFed's port needs a tensor of two axes or more")

    def combine(self, received: Submissions) -> Aggregation:
        """Transform, cluster, average."""
        rows, n, layers = received.rows, len(received), self.layers
        # The transform is linear: the model's frequencies are added where nothing is lost by it.
        theta = low_frequencies(received.context.theta.double(), layers)
        told = theta.new_empty(n, len(theta), dtype=rows.dtype)

        def tell(k: int) -> None:
            told[k] = low_frequencies(rows[k], layers)

        spread(tell, range(n), received.workers)
        lengths = row_norms(told, received.workers)
        gains = 2 * products(told, theta, received.workers) + lengths.square()
        distances = cosine_distances(
            squared_distances(told, lengths, received.workers), gains, theta @ theta
        )
        sizes = (n // 2 + 1, 1) if self.reading == "paper" else (2, 2)
        kept = densest(distances, *sizes).to(rows.device)
        return received.unweighted().keeping(kept) if kept.any() else nobody(rows)


QUICK = 1024
"""Rows up to which a product with the transform's matrix beats the transform of columns."""
TOGETHER = 32
"""Rows that are transformed at a time, so that what is dropped of them never leaves the cache."""


def low_frequencies(flat: Tensor, layers: tuple[Layer, ...]) -> Tensor:
    """The low frequencies of each layer of ``(P,)``, put together, on the CPU, in its precision."""
    values, found = flat.cpu().numpy(), []
    for layer in layers:
        matrix = values[layer.place].reshape(layer.shape[0] if layer.shape else 1, -1)
        high, wide = (max(side // 2, 1) for side in matrix.shape)
        reach = (high + wide) // 2
        # Only the columns that count go on to the second direction.
        low = np.empty((len(matrix), min(wide, reach + 1)), matrix.dtype)
        for i in range(0, len(matrix), TOGETHER):
            rows = dct(matrix[i : i + TOGETHER], axis=1, norm="ortho")
            low[i : i + TOGETHER] = rows[:, : low.shape[1]]
        if len(low) <= QUICK:
            both = (_cosines(len(low), flat.dtype)[:high] @ torch.from_numpy(low)).numpy()
        else:
            both = dct(low, axis=0, norm="ortho")[:high]
        found += [row[: max(reach - i + 1, 0)] for i, row in enumerate(both)]
    return torch.from_numpy(np.concatenate(found))


@lru_cache
def _cosines(n: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(dct(np.eye(n), axis=0, norm="ortho")).to(dtype)
