"""The mean of the shortest updates."""

import torch

from benchmark.defenses.base import Aggregation
from benchmark.defenses.rule import MajorityRule
from benchmark.defenses.submissions import Submissions


class Cge(MajorityRule):
    """Comparative gradient elimination: the mean of the n − f shortest updates. Needs n ≥ 2f + 1.

    The paper sums them; its code divides. Against a short backdoor update it does nothing. Cost:
    KP.

    >>> from benchmark.testing import aggregate
    >>> aggregate("cge", [[3.0], [-1.0], [2.0], [-50.0]], assumed_compromised=1).update
    tensor([1.3333])

    Args:
        assumed_compromised: f.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Gupta, Liu and Vaidya 2020, arXiv 2008.04699"

    def combine(self, received: Submissions) -> Aggregation:
        """Keep the short ones."""
        n = len(received)
        kept = torch.zeros(n, dtype=torch.bool, device=received.rows.device)
        kept[received.norms.argsort(stable=True)[: n - received.f]] = True
        return received.unweighted().keeping(kept)
