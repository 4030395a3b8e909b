"""LASA: of each tensor of the model, those whose sparse norm and signs are like the others'."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import beyond, largest, mean, spread
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, deviations, median, seen
from benchmark.utils.checks import one_of, positive

Averaged = Literal["dense", "sparse"]


class Lasa(Rule):
    """Layer by layer, the mean of clipped updates whose sparse copies lie near the median.

    All are clipped to the median norm. In a copy, of all tensors of two or more axes together
    (P' numbers), only entries strictly larger in magnitude than the ⌊(1 − s)P'⌋-th largest stay.
    Each tensor, a bias too, is judged alone by its sparse copies: the norm, and the purity of signs
    ½(1 + (1 − s) Σ sign / Σ |sign|), 0 for a tensor without any. Kept is whose |x − med|/std (the
    population's; 0 where the std is) is below λ_n in the first and λ_s in the second; where nobody
    is, everybody is kept for that tensor and ``fall_backs`` counts it. Their clipped dense tensors
    are averaged, weighted. Trust is the share of parameters that were kept. Cost: KP, a few rows;
    a second (K, P) where the sparse ones are averaged.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 2.0], [2.0, 1.0], [1.1, 2.0], [-9.0, -1.0]]
    >>> aggregate("lasa", rows, layers={"weight": (1, 2)}, sparsity=0.0).trust
    tensor([1., 1., 1., 0.])

    Args:
        sparsity: s, in [0, 1); 0 leaves all as it is.
        lambda_n: λ_n, a bound in standard deviations; 0.5 to 4; 1 in the paper for CIFAR, else 2.
        lambda_s: λ_s, the same; 1 in the paper.
        aggregate: ``dense`` (the paper), or ``sparse``: the authors' code, whose copies alias.

    Raises:
        ValueError: a number out of its range, or an unknown choice; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Xu et al. 2025, WACV, arXiv 2409.01435"
    is_weighted = True

    def __init__(
        self,
        sparsity: float = 0.3,
        lambda_n: float = 2.0,
        lambda_s: float = 1.0,
        aggregate: Averaged = "dense",
    ):
        super().__init__()
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsity must be at least 0 and below 1, got {sparsity}")
        self.sparsity = sparsity
        self.lambda_n = positive("lambda_n", lambda_n)
        self.lambda_s = positive("lambda_s", lambda_s)
        self.averaged = one_of("aggregate", Averaged, aggregate)

    def combine(self, received: Submissions) -> Aggregation:
        """Clip, sparsify, judge each tensor, average it."""
        layers, n, rows = received.context.layers, len(received), received.rows
        bound = median(received.norms)
        scale = received.shrinkage(bound)
        wide = [layer.place for layer in layers if len(layer.shape) > 1]

        # Shortened or not, the same entries are the largest.
        cuts = torch.stack(
            spread(lambda row: self._cut([row[x] for x in wide], row), rows, received.workers)
        )
        none, marks = torch.zeros_like(cuts), list[Tensor]()
        for layer in layers:
            own = cuts if layer.place in wide else none
            marks.append(beyond(rows[:, layer.place], own, workers=received.workers))
        squares, up, down = torch.stack(marks, dim=1).unbind(dim=2)
        purities = (1 + (up - down) / (up + down).clamp(min=1) * (1 - self.sparsity)) / 2
        lengths = squares.sqrt() * scale[:, None]
        if self.averaged == "sparse":
            rows = rows.clone()
            for row, cut in zip(rows, cuts.tolist(), strict=True):
                for place in wide:
                    row[place] = hardshrink(row[place], cut)
        update, fall_backs = torch.zeros_like(rows[0]), 0
        trust = rows.new_zeros(n, dtype=torch.float64)
        for i, layer in enumerate(layers):
            kept = deviations(lengths[:, i]) < self.lambda_n
            kept &= deviations(purities[:, i]) < self.lambda_s
            shares = received.weights * kept
            if shares.sum() == 0:
                fall_backs, shares = fall_backs + 1, received.weights
                kept = torch.ones_like(kept)
            block = rows[:, layer.place]
            update[layer.place] = mean(
                block, shares / shares.sum() * scale, workers=received.workers
            )
            trust += kept * block.shape[1]
        trust = (trust / len(update)).clamp(max=1).to(rows)
        return seen(update, trust, bound=bound, fall_backs=fall_backs)

    def _cut(self, parts: list[Tensor], row: Tensor) -> Tensor:
        """The magnitude that entries of a row's ``parts`` must exceed to stay."""
        size = sum(map(len, parts))
        if self.sparsity == 0 or size == 0:
            return row.new_tensor(0.0)
        count = math.floor((1 - self.sparsity) * size + 1e-9)
        if count == 0:
            return row.new_tensor(torch.inf)
        return largest(parts, count)
