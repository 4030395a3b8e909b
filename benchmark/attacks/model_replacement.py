"""Model replacement: trained at a rate of its own, stopped early, boosted by all of β."""

from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, CompromisedClient
from benchmark.attacks.poisoning import Poisoning, relabelled
from benchmark.attacks.rules import BoostedSteps, Snapshots
from benchmark.attacks.scaling import boosted
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.rules import LocalRule, PixelNoise
from benchmark.utils.checks import not_negative, positive
from benchmark.utils.randomness import derive


class ModelReplacement(Poisoning):
    """Submits s β_j (w* − w_t), so that a mean of others who stand still becomes w*.

    w* is trained from w_t on poisoned batches, by SGD with momentum at the attacker's own rate,
    divided by 10 after 20 % and 80 % of the epochs. Of the weights at the ends of the epochs it
    takes the first whose loss on the poison is ``stop_loss`` or less and whose accuracy on the
    local data has not fallen below that of w_t; else the last.

    Every time poison is trained on, N(0, σ²) is added to each of its pixels, in [0, 1].

    Its ``boosted`` sibling is the same at the protocol's rate and without noise.

    Args:
        epochs: passes over the local data, 1 to 20; null takes the protocol's.
        poison_share: c/B; 20 of 64 in the paper's code.
        lr: learning rate, 0.1 to 10 times the protocol's; null takes that.
        momentum: of its SGD; 0.9 in the paper's code.
        weight_decay: of its SGD; 5e-4 in the paper's code.
        step_decay: whether the rate is divided by 10 twice.
        boost_scale: s, 0.1 to 1.5.
        noise_std: σ; 0.01 in the paper's code. 0 is no noise, which compiled code can train on.
        stop_loss: 1e-4 in the paper's code; null trains to the end.
        slow_when_planted: the rate is divided by 50 where the backdoor holds on more than 20 % of
            the poison already, and by 100 again above 60 %, as in the paper's code.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Bagdasaryan et al. 2018, arXiv 1807.00459, section 3, and its published code"
    cost = (
        "15/E for E local epochs of an honest one, not compiled, and 14 evaluations of the poison"
    )
    in_tests = MappingProxyType({"epochs": 2})

    def __init__(
        self,
        epochs: int | None = 15,
        poison_share: float = 0.3125,
        lr: float | None = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        step_decay: bool = True,
        boost_scale: float = 1.0,
        noise_std: float = 0.01,
        stop_loss: float | None = 1e-4,
        slow_when_planted: bool = False,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay, step_decay)
        self.boost_scale = positive("boost_scale", boost_scale)
        self.noise_std = not_negative("noise_std", noise_std)
        self.stop_loss = None if stop_loss is None else positive("stop_loss", stop_loss)
        self.slow_when_planted = slow_when_planted
        self.slowed = 1.0
        self.snapshots: dict[tuple[int, int], Snapshots] = {}

    def before_training(self, context: AttackContext) -> None:
        """Slow down where the backdoor is there already."""
        self.slowed = 1.0
        if self.slow_when_planted and context.workbench and context.backdoor:
            poison = relabelled(context.backdoor, context.workbench)
            held = context.workbench.accuracy(context.start, poison)
            self.slowed /= (50 if held > 0.2 else 1) * (100 if held > 0.6 else 1)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane, whose weights are kept at every epoch's end."""
        poison = client.poison(backdoor)
        lane, rules = self.poisoned(client, poison), list[LocalRule]()
        if self.slow_when_planted:
            rules.append(BoostedSteps(lambda: self.slowed, [True] * lane.num_steps))
        if self.stop_loss is not None:
            kept = self.snapshots[client.round, client.slot] = Snapshots()
            rules.append(kept)
        noise = noise_on(poison, lane, self.noise_std, client) if self.noise_std else None
        return [replace(self.trained(client, lane, *rules), noise=noise)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Stop early, boost."""
        chosen = updates[:, 0]
        if self.stop_loss is not None and context.workbench:
            chosen = torch.stack(
                [
                    self._stopped(update, client, context)
                    for update, client in zip(chosen, context.members, strict=True)
                ]
            )
        return self.boost_scale * boosted(chosen, context.boosts)

    def _stopped(self, update: Tensor, client: CompromisedClient, context: AttackContext) -> Tensor:
        bench, theta = context.workbench, context.start
        assert bench
        assert context.backdoor
        assert self.stop_loss
        poison = relabelled(client.poison(context.backdoor), bench)
        least = bench.accuracy(theta, client.local)
        taken = self.snapshots.pop((client.round, client.slot)).taken
        pixels = bench.pixels(poison.indices, theta.dtype)
        labels = poison.labels.to(pixels.device)
        for local in taken[:-1]:
            with torch.no_grad():
                loss = bench.client.loss(bench.predictor(local)(pixels), labels)
            if loss <= self.stop_loss and bench.accuracy(local, client.local) >= least:
                return local - theta
        return update


def noise_on(poison: Examples, lane: Lane, std: float, client: CompromisedClient) -> PixelNoise:
    """What is added to the poison of a lane, wherever it is trained on."""
    planted = {*zip(poison.indices.tolist(), poison.labels.tolist(), strict=True)}
    where = torch.zeros_like(lane.indices, dtype=torch.bool)
    for step, size in enumerate(lane.sizes):
        pairs = zip(lane.indices[step].tolist(), lane.labels[step].tolist(), strict=True)
        where[step, :size] = torch.tensor([pair in planted for pair in pairs])[:size]
    purposes = [f"noise/{client.slot}/{step}" for step in range(lane.num_steps)]
    return PixelNoise(
        std, where, tuple(derive(client.seed, client.round, purpose) for purpose in purposes)
    )
