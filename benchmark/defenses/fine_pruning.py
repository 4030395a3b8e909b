"""Fine-pruning: in the end, without the channels that clean images leave asleep."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, DefenseSetting
from benchmark.defenses.masks import Masked
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, seen
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, LocalClient
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import at_least


class FinePruning(Rule):
    """The weighted mean; after the last round channels are pruned and the rest is tuned.

    Channels of the last convolution become 0 one after another, those of the least mean activation
    max(0, x) on the root data first, as long as the accuracy on the root data stays within
    ``budget`` of what it was; one is always left. Then the model trains on the root data at the
    clients' rate, pruned channels staying 0. What comes of it is deployed and measured; before, it
    is θ. Cost: KP a round; in the end an evaluation of the root data for each pruned channel and
    one client's training.

    >>> from benchmark.engine.client import Layer
    >>> weights = Layer("conv.weight", slice(0, 4), (2, 1, 1, 2), is_convolution=True)
    >>> bias = Layer("conv.bias", slice(4, 6), (2,), is_convolution=True)
    >>> without(torch.ones(6), [weights, bias], channel=1)
    tensor([1., 1., 0., 0., 1., 0.])

    Args:
        budget: what pruning may cost on the root data, a share; 0.005 to 0.1.
        epochs: passes over the root data; 1 to 20, 0 does not tune.
        batch_size: of these.

    Raises:
        ValueError: a number out of its range; at the start, no convolution or no root data.
    """

    paper = (
        "Liu et al. 2018, RAID, arXiv 1805.12185; at the server Wu et al. 2020, arXiv 2011.01767"
    )
    needs_root_data = True
    is_weighted = True

    def __init__(self, budget: float = 0.04, epochs: int = 10, batch_size: int = 20):
        super().__init__()
        if not 0 <= budget < 1:
            raise ValueError(f"budget must be at least 0 and below 1, got {budget}")
        self.budget = budget
        self.epochs = at_least("epochs", 0, epochs)
        self.batch_size = at_least("batch_size", 1, batch_size)

    def setup(self, setting: DefenseSetting) -> None:
        """Find the last convolution.

        Raises:
            ValueError: there is none.
        """
        super().setup(setting)
        last_convolution(setting.layers)

    def combine(self, received: Submissions) -> Aggregation:
        """The weighted mean."""
        return seen(received.mean())

    def deployed(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """θ, and after the last round what pruning and tuning make of it."""
        assert self.setting
        if context.round + 1 < self.setting.rounds:
            return theta
        assert context.root
        assert context.workbench
        kept = self.kept(theta, context.root, context.workbench)
        pruned = theta * kept
        if self.epochs == 0:
            return pruned
        root, how, slot = context.root, (self.epochs, self.batch_size), len(context.clients)
        server = LocalClient(root, *how, seed=context.seed, round=context.round, slot=slot)
        lane = server.batches(root, *how, purpose="fine-tuning")
        lane = replace(lane, rule=Masked(lambda: kept))
        return pruned + context.workbench.train(pruned, [lane], context.round)[0]

    def kept(self, theta: Tensor, root: Examples, bench: Workbench) -> Tensor:
        """1 for weights that stay, 0 in as many channels as the budget allows: ``(P,)``."""
        layers, images = bench.client.layers, bench.pixels(root.indices, theta.dtype)

        def accuracy(theta: Tensor) -> float:
            with torch.no_grad():
                answers = bench.predictor(theta)(images).argmax(dim=1).cpu()
            return (answers == root.labels.cpu()).double().mean().item()

        active = bench.activations(theta, images, last_convolution(layers).name).clamp(min=0)
        order = active.transpose(0, 1).flatten(1).mean(dim=1).argsort(stable=True).tolist()
        before, kept = accuracy(theta), torch.ones_like(theta)
        for channel in order[:-1]:
            fewer = without(kept, layers, channel)
            if accuracy(theta * fewer) < before - self.budget:
                break
            kept = fewer
        return kept


def last_convolution(layers: Sequence[Layer]) -> Layer:
    """The weights of the last convolution, ``(C, ...)`` for C channels.

    Raises:
        ValueError: there is none.
    """
    found = [layer for layer in layers if layer.is_convolution and len(layer.shape) > 1]
    if not found:
        raise ValueError("FinePruning needs a model with a convolution, whose channels it prunes")
    return found[-1]


def without(theta: Tensor, layers: Sequence[Layer], channel: int) -> Tensor:
    """θ ``(P,)`` with a channel of the last convolution, weights and bias, at 0."""
    owner, theta = last_convolution(layers).name.rpartition(".")[0], theta.clone()
    for layer in layers:
        if layer.name.rpartition(".")[0] == owner:
            layer.of(theta)[channel] = 0
    return theta
