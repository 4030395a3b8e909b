"""FLARE: models that see the server's images alike vote for each other."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting, root_of, workbench_of
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, median, seen
from benchmark.utils.checks import one_of

Trust = Literal["softmax", "share"]
Bandwidth = Literal["one", "median"]


class Flare(Rule):
    """Σ_k t_k Δ_k, where t grows with the votes of those whose representations are near.

    Each local model θ + Δ_k gives the root images' penultimate representations, the output
    layer's inputs. The distance of two clients is the unbiased MMD² of theirs with a Gaussian
    kernel exp(−‖x − y‖²/2σ²). Each votes for its ⌊K/2⌋ nearest others, and t is the softmax of
    the votes; remembered of the paper, of which there is no official code. The softmax rejects
    nobody: a boosted update that gets no vote still moves the model. Where representations lie many
    σ apart every kernel is 0, and who is far from all gets votes for being alike to nobody, itself
    included: σ = 1 fits few models. A client's ``trust`` is its t as a share of the greatest. Needs
    3 clients and 2 root images. Cost: K · images predictions and K² · images² kernels.

    >>> from torch import nn
    >>> from benchmark.testing import aggregate
    >>> model = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(1, 1), nn.Linear(1, 2))
    >>> images = torch.arange(0, 250, 50, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 28, 28)
    >>> like, unlike = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    >>> rows, root = [like, like, like, unlike], (images, torch.zeros(5))
    >>> aggregate("flare", rows, model=model, root=root, trust="share").trust[3]
    tensor(0.)

    Args:
        trust: the ``softmax`` of the votes, or their ``share``, votes by all votes (BackFed).
        bandwidth: σ: ``one`` (BackFed), or the ``median`` over the clients of the median distance
            between a client's representations.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: an unknown choice; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Wang et al. 2022, AsiaCCS"
    needs_root_data = True

    def __init__(
        self,
        trust: Trust = "softmax",
        bandwidth: Bandwidth = "one",
        weights: Weights = "refuse",
    ):
        super().__init__(weights=weights)
        self.trust = one_of("trust", Trust, trust)
        self.bandwidth = one_of("bandwidth", Bandwidth, bandwidth)

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def setup(self, setting: DefenseSetting) -> None:
        """Refuse a single root image, of which no distance is unbiased.

        Raises:
            ValueError: says so.
        """
        super().setup(setting)
        if setting.root_images == 1:
            raise ValueError("Flare needs 2 root images or more, got 1")

    def combine(self, received: Submissions) -> Aggregation:
        """Look at the images, compare, vote, weigh."""
        rows, theta = received.rows, received.context.theta.to(received.rows)
        bench, root = workbench_of(received.context, self), root_of(received.context, self)
        images = bench.pixels(root.indices, rows.dtype)
        features = [bench.features(theta + row, images).flatten(1).double() for row in rows]
        distances = discrepancies(features, self.bandwidth == "median")
        tally = votes(distances, len(rows) // 2).to(rows)
        share = tally.softmax(dim=0) if self.trust == "softmax" else tally / tally.sum()
        return seen(received.mean(share), share / share.max(), votes_max=tally.max())


def discrepancies(features: list[Tensor], heuristic: bool = False) -> Tensor:
    """Unbiased MMD² of samples ``(m, F)``, ``(n, n)``; what is not finite is infinitely far."""
    n, m = len(features), len(features[0])
    sigma = features[0].new_ones(())
    if heuristic:
        own = torch.stack([torch.pdist(sample).median() for sample in features])
        sigma = median(own[own.isfinite()]) if own.isfinite().any() else sigma
        sigma = sigma if sigma > 0 else torch.ones_like(sigma)

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        apart = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
        return (-apart.square() / (2 * sigma**2)).exp()

    within = [(kernel(x, x).sum() - m) / (m * (m - 1)) for x in features]
    found = sigma.new_zeros(n, n)
    for i in range(n):
        for j in range(i):
            between = kernel(features[i], features[j]).mean()
            found[i, j] = found[j, i] = within[i] + within[j] - 2 * between
    return torch.where(found.isfinite(), found, torch.inf)


def votes(distances: Tensor, count: int) -> Tensor:
    """How many have each among their ``count`` nearest others, ``(n,)``.

    >>> votes(torch.tensor([[0.0, 1, 5], [1, 0, 4], [5, 4, 0]]), 1)
    tensor([1, 2, 0])
    """
    chosen = []
    for i, row in enumerate(distances):
        # Infinitely far is farther than all but oneself.
        order = row.argsort(stable=True)
        chosen.append(order[order != i][:count])
    return torch.cat(chosen).bincount(minlength=len(distances))
