"""Focused flip: signs of weights that hardly matter are turned to let the trigger through."""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient, workbench_of
from benchmark.attacks.learned_trigger import LearnedTrigger, learned_trigger, stamped, value_of
from benchmark.attacks.penalties import Anchored
from benchmark.attacks.poisoning import Poisoning
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import at_least, below_one, positive

_DENSE_EVERY = 3  # of attacked rounds, the first among them


class F3BA(Poisoning):
    """Flips signs in w_t, trains on poison from there, and submits both.

    In every layer of n weights the candidates are the ⌊rate · n⌋ of least (w_t − w_prev) w_t, fewer
    where the next is as small; w_prev is the global model of the adversary's last round, so that
    the first changes no sign. A candidate w becomes |w| times the sign of

    - in the first convolution, the trigger's pixels, resized to the kernel;
    - in the others, what the trigger changes of the convolution before, mean over images, resized;
      both scaled from their least and greatest to those of each filter;
    - in dense layers but the output, in every third of its rounds, what it changes of their input.

    Where that is 0, or the pixels are all equal, w stays: the paper's code makes it 0 or NaN.
    Biases stay. A trigger of ``task=learned_patch`` is learned before: it moves by ``trigger_lr``
    times the gradient of ‖what it changes of the first convolution, mean over images and
    channels‖². Left out: convolutions whose input is not the output of the one before.

    Args:
        conv_rate: of convolutions' weights, 0.001 to 0.2.
        dense_rate: of dense layers' weights, 0.001 to 0.2.
        trigger_passes: over the first attacker's data, with which the trigger is learned; 0: none.
        trigger_lr: of the trigger.
        similarity: s in (1 − s) CE + s ‖w − w_0‖², w_0 after the flips; 0.7 in the paper's code
            against Bulyan.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch; 0.4 is 0.4 CE on poison and 0.6 CE on clean images.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Fang and Chen 2023, AAAI, arXiv 2301.08170, and its published code"
    cost = "2/E for E local epochs of an honest one; 2/E and 2 evaluations a layer, not compiled"
    in_tests = MappingProxyType({"epochs": 1})
    previous: Tensor
    rounds: Tensor

    def __init__(
        self,
        conv_rate: float = 0.02,
        dense_rate: float = 0.001,
        trigger_passes: int = 2,
        trigger_lr: float = 0.1,
        similarity: float = 0.0,
        epochs: int | None = 2,
        poison_share: float = 0.4,
        lr: float | None = 0.001,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.conv_rate = below_one("conv_rate", conv_rate)
        self.dense_rate = below_one("dense_rate", dense_rate)
        self.trigger_passes = at_least("trigger_passes", 0, trigger_passes)
        self.trigger_lr = positive("trigger_lr", trigger_lr)
        self.similarity = below_one("similarity", similarity)

    def setup(self, setting: AttackSetting) -> None:
        """No round was attacked."""
        super().setup(setting)
        self.register_buffer("previous", torch.zeros(setting.num_parameters))
        self.register_buffer("rounds", torch.tensor(0))

    def before_training(self, context: AttackContext) -> None:
        """Learn the trigger, where it can be learned."""
        trigger, bench = learned_trigger(context, "pattern"), context.workbench
        if not (self.trigger_passes and self.rounds and bench and context.members):
            return
        first = next((layer for layer in context.layers if layer.is_convolution), None)
        if trigger and first:
            trigger.learn(self._learned(trigger, first, bench, context))

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One honest step, whose result is not used: training begins at other weights than w_t."""
        return [client.honest_lane().first(1)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Flip, train."""
        bench, backdoor = workbench_of(context, self)
        rows = []
        for client in context.members:
            poison = client.poison(backdoor)
            start = self._flipped(client, poison, bench, context)
            lane = self.poisoned(client, poison)
            rates = self.rates(client, lane)
            near = [Anchored(rates, 1 - self.similarity, "l2_squared")] if self.similarity else []
            lane = self.trained(client, lane, penalties=near)
            rows.append(start - context.start + bench.train(start, [lane], context.round)[0])
        self.previous, self.rounds = context.start.clone(), self.rounds + 1
        return torch.stack(rows)

    def _candidates(self, layer: Layer, theta: Tensor) -> Tensor:
        rate = self.conv_rate if layer.is_convolution else self.dense_rate
        old = self.previous.to(theta)
        return candidates(theta[layer.place], old[layer.place], rate).view(layer.shape)

    def _flipped(
        self, client: CompromisedClient, poison: Examples, bench: Workbench, context: AttackContext
    ) -> Tensor:
        """w_t with other signs."""
        theta = context.start.clone()
        if not self.rounds:
            return theta
        clean, bad = (bench.pixels(x.indices, theta.dtype) for x in (client.local, poison))

        def change(layer: Layer, given: bool) -> Tensor:
            means = [bench.activations(theta, x, layer.name, given).mean(0) for x in (bad, clean)]
            return means[0] - means[1]

        wanted = pattern_of(context, clean)
        for layer in weights(context.layers, convolutions=True):
            kernel = layer.of(theta)
            if wanted is not None and len(wanted) == kernel.shape[1]:
                found = flipped(kernel, scaled_to(kernel, wanted), self._candidates(layer, theta))
                theta[layer.place] = found.flatten()
            wanted = change(layer, given=False)
        if self.rounds % _DENSE_EVERY == 1:
            for layer in weights(context.layers, convolutions=False):
                signs = change(layer, given=True)
                found = flipped(layer.of(theta), signs, self._candidates(layer, theta))
                theta[layer.place] = found.flatten()
        return theta

    def _learned(
        self, trigger: LearnedTrigger, first: Layer, bench: Workbench, context: AttackContext
    ) -> Tensor:
        client, found = context.members[0], value_of(trigger, "pattern", context.start)
        mask = self._candidates(first, context.start)
        for _ in range(self.trigger_passes):
            for indices in client.local.indices.split(client.batch_size):
                clean, theta = bench.pixels(indices, found.dtype), context.start.clone()
                kernel = first.of(theta)
                theta[first.place] = flipped(kernel, scaled_to(kernel, found), mask).flatten()
                with torch.enable_grad():
                    tried = found.clone().requires_grad_()
                    bad = stamped(trigger, "pattern", tried, clean)
                    seen = [bench.activations(theta, x, first.name) for x in (bad, clean)]
                    change = seen[0].mean(dim=(0, 1)) - seen[1].mean(dim=(0, 1))
                    (gradient,) = torch.autograd.grad(change.square().sum(), tried)
                found = (found + self.trigger_lr * gradient).clamp(0, 1)
        return found


def weights(layers: Sequence[Layer], convolutions: bool) -> list[Layer]:
    """Kernels, or matrices of dense layers; never the output's."""
    axes = 4 if convolutions else 2
    return [
        layer
        for layer in layers
        if layer.is_convolution == convolutions and len(layer.shape) == axes and not layer.is_output
    ]


def candidates(theta: Tensor, previous: Tensor, rate: float) -> Tensor:
    """The ⌊rate · n⌋ of ``(n,)`` weights with the least (w − w_prev) w, without ties at the border.

    >>> candidates(torch.tensor([1.0, -2, 3, -4]), torch.tensor([1.5, -1, 3, -5]), 0.5)
    tensor([ True, False, False,  True])
    """
    scores = (theta - previous) * theta
    return scores < scores.kthvalue(int(rate * len(scores)) + 1).values


def flipped(weight: Tensor, signs: Tensor, chosen: Tensor) -> Tensor:
    """Weights ``(O, ...)``, those ``chosen`` with these signs ``(O, ...)`` or ``(...)``, but for 0.

    >>> all = torch.tensor(True)
    >>> flipped(torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([-1.0, 0.0, -9.0]), all)
    tensor([[-1., -2., -3.]])
    """
    return torch.where(chosen & (signs != 0), weight.abs() * signs.sign(), weight)


def scaled_to(kernel: Tensor, wanted: Tensor) -> Tensor:
    """``wanted`` ``(I, h, w)`` in the size and the range of each filter of ``(O, I, k, l)``.

    0 everywhere where all of it is equal.
    """
    small = interpolate(
        wanted[None], kernel.shape[2:], mode="bilinear", align_corners=False, antialias=True
    )[0]
    low, high = small.min(), small.max()
    if high <= low:
        return torch.zeros_like(kernel)
    least, greatest = kernel.amin(dim=(1, 2, 3)), kernel.amax(dim=(1, 2, 3))
    unit = (small - low) / (high - low)
    return unit * (greatest - least).view(-1, 1, 1, 1) + least.view(-1, 1, 1, 1)


def pattern_of(context: AttackContext, images: Tensor) -> Tensor | None:
    """The pixels that the trigger changes, in their bounding box, mean over images; None: none."""
    if context.trigger is None:
        return None
    bad = context.trigger.stamp(images)
    changed = (bad != images).any(dim=0).any(dim=0)
    if not changed.any():
        return None
    rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
    box = bad.mean(dim=0)[:, rows.min() : rows.max() + 1]
    return box[:, :, columns.min() : columns.max() + 1]
