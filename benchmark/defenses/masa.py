"""MASA: a model that unlearns clean data too easily has learned something else."""

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, root_of, workbench_of
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, median
from benchmark.utils.checks import at_least, positive
from benchmark.utils.randomness import generator


class Masa(Rule):
    """The weighted mean of clients whose loss does not rise too fast when they unlearn.

    For each client the server starts at θ + λΔ_k + (1 − λ)·Δ̄, where Δ̄ is the weighted mean of all
    updates, and ascends the loss of its root data for some epochs: SGD with momentum, gradients
    clipped to a norm. L_k is the sum over the epochs of the mean of their batches' losses. Who has
    (L_k − med)/std < δ stays, on that side alone, with the population's std; where it is 0 all do.
    Every client gets the same batches. A start or a loss that is not finite is rejected. Needs 3
    clients. Cost: K · epochs passes over the root data, by gradients.

    >>> from torch import nn
    >>> from benchmark.testing import aggregate
    >>> model = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(1, 2))
    >>> black, white = torch.zeros(2, 1, 28, 28), torch.full((2, 1, 28, 28), 255.0)
    >>> root = torch.cat([black, white]).to(torch.uint8), torch.tensor([0, 0, 1, 1])
    >>> sound, reversed = [-3.0, 3.0, 2.0, -2.0], [3.0, -3.0, -2.0, 2.0]
    >>> rows = [sound, sound, sound, sound, reversed]
    >>> aggregate("masa", rows, model=model, root=root).trust
    tensor([1., 1., 1., 1., 0.])

    Args:
        fusion: λ, in (0, 1]; 0.3 to 1.
        epochs: over the root data.
        batch_size: 64 in the authors' code.
        lr: 1e-4 to 1e-2.
        momentum: in [0, 1).
        clip: to which norm gradients are clipped.
        delta: δ, in standard deviations; 0.5 to 3.

    Raises:
        ValueError: a number out of its range; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Xu et al. 2025, WACV, arXiv 2411.01040"
    is_weighted = True
    needs_root_data = True

    def __init__(
        self,
        fusion: float = 0.7,
        epochs: int = 5,
        batch_size: int = 64,
        lr: float = 0.001,
        momentum: float = 0.9,
        clip: float = 20.0,
        delta: float = 1.0,
    ):
        super().__init__()
        if not 0 < fusion <= 1:
            raise ValueError(f"fusion must be above 0 and at most 1, got {fusion}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        self.fusion, self.momentum = fusion, momentum
        self.epochs = at_least("epochs", 1, epochs)
        self.batch_size = at_least("batch_size", 1, batch_size)
        self.lr, self.clip, self.delta = (
            positive(name, value) for name, value in (("lr", lr), ("clip", clip), ("delta", delta))
        )

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def combine(self, received: Submissions) -> Aggregation:
        """Fuse, unlearn, keep, average."""
        rows, theta = received.rows, received.context.theta.to(received.rows)
        middle = theta + (1 - self.fusion) * received.mean()
        losses = torch.stack(
            [self.unlearned(middle + self.fusion * row, received.context) for row in rows]
        )
        kept = losses.isfinite()
        found = losses[kept]
        kept[kept.clone()] = rises(found) < self.delta
        return received.keeping(kept, loss_median=median(found) if len(found) else 0.0)

    def unlearned(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """L_k from these weights on, float64."""
        bench, root = workbench_of(context, self), root_of(context, self)
        images, labels = bench.pixels(root.indices, theta.dtype), root.labels.to(theta.device)
        source = generator(context.seed, context.round, "masa batches")
        velocity, total = torch.zeros_like(theta), theta.new_zeros((), dtype=torch.float64)
        for _ in range(self.epochs):
            batches = torch.randperm(len(root), generator=source).split(self.batch_size)
            for batch in batches:
                batch = batch.to(theta.device)
                loss, gradient = bench.slope(theta, images[batch], labels[batch])
                total += loss.double() / len(batches)
                length = gradient.norm()
                velocity = self.momentum * velocity + gradient * (self.clip / length).clamp(max=1)
                theta = theta + self.lr * velocity
        return total


def rises(losses: Tensor) -> Tensor:
    """(L − med)/std of ``(n,)``, with the population's std; all 0 where it is, up to rounding.

    >>> rises(torch.tensor([1.0, 1.1, 0.9, 3.0]))
    tensor([-0.0575,  0.0575, -0.1726,  2.2442])
    """
    if len(losses) == 0:
        return losses
    std = losses.std(correction=0)
    if std <= 1e-12 * losses.abs().max():
        return torch.zeros_like(losses)
    return (losses - median(losses)) / std
