"""A3FL: a trigger that is learned against a model that unlearns it."""

from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from benchmark.attacks.base import AttackContext, CompromisedClient
from benchmark.attacks.learned_trigger import (
    LearnedTrigger,
    gradient,
    learned_trigger,
    stamped,
    value_of,
)
from benchmark.attacks.poisoning import Poisoning
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.rules import LocalLoss
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import at_least, below_one, not_negative, positive

_MOMENTUM, _DECAY = 0.9, 5e-4  # of the SGD that unlearns


@dataclass(frozen=True)
class Smoothed(LocalLoss):
    """Cross-entropy of targets (1 − s) y + s/C, for C classes; s is ``smoothing``."""

    smoothing: float

    def __call__(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """A scalar."""
        return cross_entropy(logits, labels, label_smoothing=self.smoothing)


class A3FL(Poisoning):
    """Learns the patch of ``task=learned_patch`` in every round it attacks, then trains on poison.

    The first attacker passes over its images, t ← clip(t − r sign ∂[CE(w_t) + λ s CE(w')]/∂t), each
    stamped and read as the adversary wants. w' is trained from w_t on stamped images with their
    true labels, anew after every ``adapt_every`` passes but not before the first; s is the mean
    over convolutions of the cosine of w' and w_t (in the paper's code that of gradients). All
    compromised plant the patch that came of it.

    The paper's code has 200 passes and adapts after each, 1200 local epochs a round; without
    adapting, as with passes ≤ ``adapt_every``, it is another attack.

    Args:
        passes: 200 in the paper's code.
        trigger_lr: r.
        balance: λ.
        adapt_every: 1 in the paper's code.
        adapt_epochs: of w'.
        adapt_lr: of w'.
        label_smoothing: s of local training, see :class:`Smoothed`; 0.001 in the paper's code. 0 is
            plain cross-entropy, which compiled code can train on.
        epochs: passes of local training; null takes the protocol's.
        poison_share: of every batch.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Zhang et al. 2023, NeurIPS, and its published code"
    cost = "2/E for E local epochs of an honest one, and once a round 40/E, neither compiled"
    learns = "pattern"
    in_tests = MappingProxyType({"passes": 2, "adapt_every": 1, "adapt_epochs": 1})

    def __init__(
        self,
        passes: int = 15,
        trigger_lr: float = 0.01,
        balance: float = 0.01,
        adapt_every: int = 4,
        adapt_epochs: int = 5,
        adapt_lr: float = 0.01,
        label_smoothing: float = 0.001,
        epochs: int | None = 2,
        poison_share: float = 0.25,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.passes = at_least("passes", 1, passes)
        self.trigger_lr = positive("trigger_lr", trigger_lr)
        self.balance = not_negative("balance", balance)
        self.adapt_every = at_least("adapt_every", 1, adapt_every)
        self.adapt_epochs = at_least("adapt_epochs", 1, adapt_epochs)
        self.adapt_lr = positive("adapt_lr", adapt_lr)
        self.label_smoothing = below_one("label_smoothing", label_smoothing)

    def before_training(self, context: AttackContext) -> None:
        """Learn the patch."""
        trigger, bench = learned_trigger(context, "pattern"), context.workbench
        if trigger and bench:
            trigger.learn(self._learned(trigger, bench, context))

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane, on poisoned batches."""
        lane = self.trained(client, self.poisoned(client, client.poison(backdoor)))
        smoothed = Smoothed(self.label_smoothing) if self.label_smoothing else None
        return [replace(lane, loss=smoothed)]

    def _learned(self, trigger: LearnedTrigger, bench: Workbench, context: AttackContext) -> Tensor:
        client = context.members[0]
        batches = client.local.indices.split(client.batch_size)
        pattern = value_of(trigger, "pattern", context.start)
        models = [(1.0, context.start)]
        for number in range(self.passes):
            if number and number % self.adapt_every == 0:
                other = self._unlearned(trigger, pattern, batches, bench, context.start)
                models[1:] = [(self.balance * alikeness(other, context), other)]
            for indices in batches:
                labels = trigger.wanted(bench.data.labels[indices])

                def by_images(bad: Tensor, labels: Tensor = labels) -> Tensor:
                    found = torch.zeros_like(bad)
                    for weight, theta in models:
                        found += weight * bench.gradient(theta, bad, labels, by="images")[1]
                    return found

                images = bench.pixels(indices, pattern.dtype)
                step = gradient(trigger, "pattern", pattern, images, by_images).sign()
                pattern = (pattern - self.trigger_lr * step).clamp(0, 1)
        return pattern

    def _unlearned(
        self,
        trigger: LearnedTrigger,
        pattern: Tensor,
        batches: tuple[Tensor, ...],
        bench: Workbench,
        start: Tensor,
    ) -> Tensor:
        """w' ``(P,)``."""
        theta, v = start.clone(), torch.zeros_like(start)
        for indices in batches * self.adapt_epochs:
            images = stamped(trigger, "pattern", pattern, bench.pixels(indices, theta.dtype))
            _, slope = bench.gradient(theta, images, bench.data.labels[indices])
            v = _MOMENTUM * v + slope + _DECAY * theta
            theta -= self.adapt_lr * v
        return theta


def alikeness(other: Tensor, context: AttackContext) -> float:
    """Mean cosine over kernels, or over matrices where there are none, of weights and w_t."""
    among: list[Layer] = [x for x in context.layers if x.is_convolution and len(x.shape) > 1]
    among = among or [layer for layer in context.layers if len(layer.shape) > 1]
    cosines = [
        cosine_similarity(other[layer.place], context.start[layer.place], dim=0) for layer in among
    ]
    return float(torch.stack(cosines).mean())
