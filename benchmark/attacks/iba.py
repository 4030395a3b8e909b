"""IBA: noise that a network makes of each image is learned before it is planted."""

from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient
from benchmark.attacks.learned_trigger import (
    LearnedTrigger,
    gradient,
    learned_trigger,
    stamped,
    value_of,
)
from benchmark.attacks.poisoning import Poisoning
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import at_least, below_one, not_negative, positive, share


@runtime_checkable
class FadingTrigger(Protocol):
    """A trigger that can be made weaker.

    Attributes:
        epsilon: how strong it was at first.
    """

    epsilon: float

    def weaken(self, epsilon: float) -> None:
        """Set how strong it is."""


class IBA(Poisoning):
    """Learns the noise of ``task=learned_noise``, then plants it.

    1. Until the share of the first attacker's images that bear the trigger and are read as it wants
       reaches ``threshold``: all submit honest updates, and g is trained on that client's model
       after its local training, mean CE of what is wanted, by SGD (the paper's code builds an Adam
       that it does not use).
    2. From the next attacked round on: local training on poison, and g is trained on in the first,
       third, … round of this phase, on the backdoored model.

    In the second phase ε falls, whether a round is attacked or not: t rounds after its first it is
    max(ε_least, ε (1 − d)^t), or ε if that is less than ε_least.

    Evaluation sees g as it was last trained, copies that are planted as it was before the round;
    both have the ε of the last attacked round (the paper's code evaluates with ε_least from the
    first planted round on). Left out: projection and masks by option, for which there are attacks.

    Args:
        threshold: 0.85 in the paper's code.
        passes: over the images, with which g is trained in a round; 3 in the paper's code, whose
            clients have ten times as many.
        trigger_lr: of g; 0.001 in the paper's code.
        trigger_momentum: of g, 0 to below 1.
        epsilon_decay: d, 0 to below 1; 0.001 in the paper's code, of 1500 rounds. 0: ε stays.
        least_epsilon: ε_least, to which ε falls; 0.05 in the paper's code for digits.
        epochs: passes of local training; null takes the protocol's.
        poison_share: of every batch; 0.5 is the paper's α.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Nguyen et al. 2023, NeurIPS, and its published code"
    cost = "2, and once a round 11/E for E local epochs of an honest one, not compiled"
    learns = "weights"
    in_tests = MappingProxyType({"passes": 1, "threshold": 0.0})  # so that it comes to planting
    success: Tensor
    planted: Tensor
    first: Tensor

    def __init__(
        self,
        threshold: float = 0.85,
        passes: int = 10,
        trigger_lr: float = 0.01,
        trigger_momentum: float = 0.9,
        epsilon_decay: float = 0.001,
        least_epsilon: float = 0.05,
        epochs: int | None = None,
        poison_share: float = 0.5,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.threshold = share("threshold", threshold)
        self.passes = at_least("passes", 1, passes)
        self.trigger_lr = positive("trigger_lr", trigger_lr)
        self.trigger_momentum = below_one("trigger_momentum", trigger_momentum)
        self.epsilon_decay = below_one("epsilon_decay", epsilon_decay)
        self.least_epsilon = not_negative("least_epsilon", least_epsilon)

    def setup(self, setting: AttackSetting) -> None:
        """Nothing was learned, and no round of the second phase was there."""
        super().setup(setting)
        self.register_buffer("success", torch.tensor(-1.0, dtype=torch.float64))
        self.register_buffer("planted", torch.tensor(0))
        self.register_buffer("first", torch.tensor(0))

    def before_training(self, context: AttackContext) -> None:
        """Which phase it is, and what of ε is left in it."""
        if not self.planted and self.success < self.threshold:
            return
        if not self.planted:
            self.first = torch.full_like(self.first, context.round)
        self.planted = self.planted + 1
        trigger = learned_trigger(context, "weights")
        if self.epsilon_decay and isinstance(trigger, FadingTrigger):
            fallen = trigger.epsilon * (1 - self.epsilon_decay) ** (context.round - int(self.first))
            trigger.weaken(max(min(self.least_epsilon, trigger.epsilon), fallen))

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """An honest lane, and one on poison."""
        poison = self.poisoned(client, client.poison(backdoor))
        return [client.honest_lane(), self.trained(client, poison)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Honest updates or planted ones, and g on the model of the first."""
        chosen = updates[:, 1 if self.planted else 0]
        trigger, bench = learned_trigger(context, "weights"), context.workbench
        if trigger and bench:
            model = context.start + chosen[0]
            if self.planted % 2 == 1 or not self.planted:
                trigger.learn(self._learned(trigger, model, bench, context))
            self.success = self._success(trigger, model, bench, context)
        return chosen

    def _learned(
        self, trigger: LearnedTrigger, model: Tensor, bench: Workbench, context: AttackContext
    ) -> Tensor:
        client = context.members[0]
        weights = value_of(trigger, "weights", model)
        v = torch.zeros_like(weights)
        for indices in client.local.indices.split(client.batch_size) * self.passes:
            labels = trigger.wanted(bench.data.labels[indices])

            def by_images(bad: Tensor, labels: Tensor = labels) -> Tensor:
                return bench.gradient(model, bad, labels, by="images")[1]

            images = bench.pixels(indices, model.dtype)
            slope = gradient(trigger, "weights", weights, images, by_images)
            v = self.trigger_momentum * v + slope
            weights = weights - self.trigger_lr * v
        return weights

    def _success(
        self, trigger: LearnedTrigger, model: Tensor, bench: Workbench, context: AttackContext
    ) -> Tensor:
        client, predict = context.members[0], bench.predictor(model)
        weights, hits = value_of(trigger, "weights", model), []
        for indices in client.local.indices.split(client.batch_size):
            images = stamped(trigger, "weights", weights, bench.pixels(indices, model.dtype))
            labels = trigger.wanted(bench.data.labels[indices])
            hits.append(predict(images).argmax(dim=1).cpu() == labels.cpu())
        return torch.cat(hits).double().mean().to(self.success)
