"""BackdoorIndicator: a task of the server's own, which only a backdoor keeps alive."""

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmark.defenses.base import (
    Aggregation,
    DefenseContext,
    DefenseSetting,
    root_of,
    workbench_of,
)
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, median
from benchmark.utils.checks import at_least, one_of, positive
from benchmark.utils.randomness import generator

Probe = Literal["noise", "blurred", "shuffled"]
MILESTONES = 0.05, 0.1, 0.15, 0.8
"""After which shares of the passes the rate falls: 10, 20, 30 and 160 of the authors' 200."""


class BackdoorIndicator(Rule):
    """The weighted mean of those whose models forget what the server planted.

    Before each round the server trains the global model on a probe: images that are not of the
    task, with random labels balanced over the classes, both the same in every round. SGD with
    momentum and weight decay on cross-entropy + (μ/2)‖θ − θ_t‖ (the norm, not its square, as in
    the authors' code), whose rate falls to 0.8 of itself four times. Clients begin with that, and
    their updates are added to it. Honest training forgets the probe; who planted a backdoor keeps
    its target class: a returned model is rejected if, of the classes, its best accuracy on the
    probe's images of a class is ``threshold`` or more.

    The paper's probe is CIFAR-100, which cannot be had here, and its models have BatchNorm, whose
    statistics it swaps; these have none. A model that gives noise one class, as models of digits
    may, is rejected whatever it learned: see ``probe_accuracy`` and the false positives before you
    believe a result. Trained for 20 passes by default, the paper's 200 take ten times as long.
    Cost: images · passes gradients and (K + 1) · images predictions a round.

    >>> from torch import nn
    >>> from benchmark.testing import aggregate
    >>> model = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(1, 2))
    >>> by_brightness, always_0 = [100.0, -100.0, -50.0, 50.0], [0.0, 0.0, 1.0, 0.0]
    >>> aggregate("backdoor_indicator", [by_brightness, always_0], model=model).trust
    tensor([1., 0.])

    Args:
        probe: uniform ``noise``, ``blurred`` noise, or ``shuffled``: root images, their pixels in
            one other order for all; as many as there are, at most ``images``.
        images: of the probe; 800 in the paper. At least one of each class.
        passes: over them before each round; 200 in the paper.
        batch_size: 64 in the authors' code.
        lr: of the server's training; 1e-4 to 1e-2.
        decay: what the rate is multiplied by, four times.
        momentum: in [0, 1).
        weight_decay: from 0.
        mu: μ, from 0; 0.01 to 1.
        threshold: in (0, 1]; 0.5 to 0.99.
        clip_bound: to which kept updates are clipped, 2 in the paper; 0 for none.

    Raises:
        ValueError: a number out of its range, an unknown ``probe``, or shuffled images without
            root data; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Li & Dai 2024, USENIX Security, arXiv 2405.20862"
    is_weighted = True
    in_tests = MappingProxyType({"images": 40, "passes": 2})
    exempt = MappingProxyType(
        {"a_cohort_that_agrees_gets_its_update": "who gives the probe one class is rejected"}
    )

    def __init__(
        self,
        probe: Probe = "noise",
        images: int = 800,
        passes: int = 20,
        batch_size: int = 64,
        lr: float = 0.005,
        decay: float = 0.8,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        mu: float = 0.4,
        threshold: float = 0.95,
        clip_bound: float = 0.0,
    ):
        super().__init__()
        self.probe = one_of("probe", Probe, probe)
        self.needs_root_data = probe == "shuffled"
        self.images, self.passes = at_least("images", 1, images), at_least("passes", 1, passes)
        self.batch_size = at_least("batch_size", 1, batch_size)
        self.lr, self.decay = positive("lr", lr), positive("decay", decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        for name, value in (("weight_decay", weight_decay), ("mu", mu), ("clip_bound", clip_bound)):
            if not 0 <= value < torch.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
        self.momentum, self.weight_decay, self.mu = momentum, weight_decay, mu
        self.threshold, self.clip_bound = threshold, clip_bound

    def setup(self, setting: DefenseSetting) -> None:
        """Count the classes.

        Raises:
            ValueError: there are more than images.
        """
        super().setup(setting)
        self.num_classes = setting.layers[-1].shape[0]
        at_least("images", self.num_classes if self.probe != "shuffled" else 1, self.images)

    def probes(self, context: DefenseContext, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(b, C, H, W)`` and labels ``(b,)``, the same in every round."""
        bench, seed = workbench_of(context, self), context.seed
        channels, height, width = bench.data.input_shape
        source = generator(seed, 0, "indicator images")
        if self.probe == "shuffled":
            order = torch.randperm(height * width, generator=source).to(theta.device)
            images = bench.pixels(root_of(context, self).indices[: self.images], theta.dtype)
            images = images.flatten(2)[:, :, order].view_as(images)
        else:
            images = torch.rand(self.images, channels, height, width, generator=source).to(theta)
        if self.probe == "blurred":
            images = avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
            least, most = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - least) / (most - least).clamp(min=1e-12)
        source = generator(seed, 0, "indicator labels")
        balanced = torch.arange(len(images)) % self.num_classes
        labels = balanced[torch.randperm(len(images), generator=source)]
        return images, labels.to(theta.device)

    def before_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Teach the global model the probe."""
        bench = workbench_of(context, self)
        images, labels = self.probes(context, theta)
        source = generator(context.seed, context.round, "indicator batches")
        now, velocity, lr = theta.clone(), torch.zeros_like(theta), self.lr
        milestones = [round(share * self.passes) for share in MILESTONES]
        for number in range(self.passes):
            lr *= self.decay ** milestones.count(number) if number else 1
            order = torch.randperm(len(images), generator=source).to(theta.device)
            for batch in order.split(self.batch_size):
                _, gradient = bench.slope(now, images[batch], labels[batch])
                offset = now - theta
                # At θ_t itself the norm has no gradient: 0, as autograd says.
                away = offset / offset.norm().clamp(min=torch.finfo(theta.dtype).tiny)
                gradient = gradient + self.mu / 2 * away + self.weight_decay * now
                velocity = self.momentum * velocity + gradient
                now = now - lr * velocity
        return now

    @torch.no_grad()
    def combine(self, received: Submissions) -> Aggregation:
        """Ask every model for the probe, reject, average."""
        rows, context = received.rows, received.context
        bench, theta = workbench_of(context, self), context.theta.to(rows)
        images, labels = self.probes(context, theta)

        def best(weights: Tensor) -> Tensor:
            read = bench.predictor(weights)(images).argmax(dim=1)
            return best_of_classes(read, labels, self.num_classes)

        found = torch.stack([best(theta + row) for row in rows])
        scale = None
        if self.clip_bound > 0:
            scale = received.shrinkage(torch.tensor(self.clip_bound, device=rows.device))
        return received.keeping(
            found < self.threshold,
            scale,
            probe_accuracy=best(theta),
            probe_accuracy_median=median(found),
            probe_accuracy_max=found.max(),
        )


def best_of_classes(read: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The best share of a class's images that are read as such, float64.

    >>> best_of_classes(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]), 3)
    tensor(1., dtype=torch.float64)
    """
    hits = labels[read == labels].bincount(minlength=num_classes)
    counts = labels.bincount(minlength=num_classes).clamp(min=1)
    return (hits / counts.double()).max()
