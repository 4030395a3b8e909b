"""AlignIns: those whose direction and signs are like those of the others."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation
from benchmark.defenses.blocks import (
    beyond,
    by_columns,
    largest,
    products,
    row_norms,
    spread,
)
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, deviations, median, nobody
from benchmark.utils.checks import positive


class AlignIns(Rule):
    """Keep clients near the median in two scores, clip to the median norm of those, average.

    The direction TDA_k = cos(Δ_k, θ) with the model before the round; and the signs: MPSA_k, the
    share of the ⌊s·P⌋ coordinates of largest |Δ_k| whose sign is the principal one,
    sign Σ_j sign Δ_j. Kept is who has |x − med|/std below λ_c in the first and λ_s in the second,
    with the population's std over the cohort; where it is 0 everybody scores 0. With the paper's
    λ = 1 each test drops about a third of an honest cohort. Weighted; needs 3 clients. Cost: KP
    and a second (K, P).

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0, 1.0, 0.1, 0.0], [1.0, 0.9, -0.1, 0.0],
    ...         [0.9, 1.0, 0.1, 0.0], [-1.0, -1.0, 0.1, 0.0]]
    >>> aggregate("align_ins", rows, theta=[1.0, 1.0, 1.0, 1.0], sparsity=0.5).trust
    tensor([1., 1., 1., 0.])

    Args:
        sparsity: s, the share of coordinates that are looked at, in (0, 1]; at least one is.
        lambda_c: λ_c, a bound in standard deviations; 0.5 to 4.
        lambda_s: λ_s, the same.

    Raises:
        ValueError: a number out of its range; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Xu et al. 2025, CVPR, arXiv 2503.07978"
    is_weighted = True

    def __init__(self, sparsity: float = 0.3, lambda_c: float = 1.0, lambda_s: float = 1.0):
        super().__init__()
        if not 0 < sparsity <= 1:
            raise ValueError(f"sparsity must be above 0 and at most 1, got {sparsity}")
        self.sparsity = sparsity
        self.lambda_c = positive("lambda_c", lambda_c)
        self.lambda_s = positive("lambda_s", lambda_s)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def combine(self, received: Submissions) -> Aggregation:
        """Score, keep, clip, average."""
        rows = received.rows
        theta = received.context.theta.to(rows.device)
        lengths = received.norms * row_norms(theta[None])
        along = products(rows, theta, received.workers)
        direction = torch.where(lengths > 0, along / lengths, 0)
        num = max(int(self.sparsity * rows.shape[1] + 1e-9), 1)
        signs = sign_agreement(rows, num, received.workers)
        kept = (deviations(direction) < self.lambda_c) & (deviations(signs) < self.lambda_s)
        if not kept.any():
            return nobody(rows)
        bound = median(received.norms[kept])
        return received.keeping(kept, received.shrinkage(bound), bound=bound)


def sign_agreement(rows: Tensor, num: int, workers: int = 1) -> Tensor:
    """Share of each row's ``num`` largest values that have the principal sign, ``(n,)``.

    Of values that are as large, the first.
    """
    principal = by_columns(rows, lambda block: block.sign().sum(dim=0).sign(), workers)
    cuts = torch.stack(spread(lambda row: largest([row], num), rows, workers))
    below = torch.nextafter(cuts, torch.zeros_like(cuts))
    agree = beyond(rows, below, principal, workers)[:, 1]
    counted = beyond(rows, below, workers=workers)[:, 1:].sum(dim=1)
    # Where several are as large as the cut, and there is no room for all of them.
    for k in (counted != num).nonzero().flatten().tolist():
        own, cut = rows[k : k + 1], cuts[k : k + 1]
        room = num - int(beyond(own, cut, workers=workers)[0, 1:].sum())
        tied = (own[0].abs() == cut).nonzero().flatten()[:room]
        same = (own[0, tied].sign() == principal[tied]).sum()
        agree[k] = beyond(own, cut, principal, workers)[0, 1] + same
    return agree / num
