"""Layer substitution: only the layers that the backdoor needs are the backdoor's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient, workbench_of
from benchmark.attacks.poisoning import Poisoning, relabelled
from benchmark.attacks.rules import Momentum
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.workbench import Workbench
from benchmark.utils.checks import one_of, positive, positive_share
from benchmark.utils.randomness import generator

Form = Literal["lp", "lfa"]

_RATE, _MOMENTUM, _BATCH = 0.1, 0.5, 64  # of models that are trained to identify layers
_ENOUGH, _LOOKED_AT_EVERY, _MOST_PASSES = 0.9, 4, 32


class LayerSubstitution(Poisoning):
    """Submits Δ^b, but in backdoor-critical layers λ Δ^m + max(0, 1 − λ) Δ^b; ``lfa``: −Δ^m.

    Δ^b is an honest update, Δ^m one on poison, of which a quarter is kept to validate. Per client
    and round, with a layer for each parameter: each is taken in turn from the honest model into the
    malicious one, and they are sorted by how much of its backdoor accuracy is lost, most first,
    equals in the model's order; then the first n are taken from the malicious into the honest one,
    n = 1, 2, …, until it has τ of the malicious one's backdoor accuracy. Where that has none, Δ^b.

    With ``own_models`` layers are identified with two other models, see :func:`own_updates`.

    Left out: the search of λ and of fewer layers against a copy of the defense, which
    ``adaptive_blend`` does for any update.

    >>> from benchmark.testing import craft
    >>> lanes, layers = [[[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]], {"a": (2,), "b": (1,)}
    >>> craft("layer_substitution", lanes, layers=layers, chosen=["b"], scale=0.5)
    tensor([[1., 2., 6.]])

    Args:
        form: ``lp``, layer-wise poisoning, or ``lfa``, layer-wise flipping.
        tau: τ, 0.5 to 0.99; 0.95 in the paper's adaptive attack, 0.8 in the plain one.
        scale: λ, 0.1 to 3; 1 in the paper for large networks, 0.5 for small ones.
        averaged: Δ^b is the mean of the M compromised ones', as in the adaptive attack.
        own_models: layers are identified with models that are trained for it, as in the paper's
            code; 10 to 30 passes over the local data more.
        chosen: names of the layers, where they are not to be identified.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch; 0.5 as the paper's code, which adds a copy of each image.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range, an unknown ``form``, or a layer that is not there.
    """

    paper = "Zhuang et al. 2024, ICLR, arXiv 2308.04466, section 3, and its published code"
    cost = "2, and for each layer 2 evaluations; with own models up to 34/E more"

    def __init__(
        self,
        form: Form = "lp",
        tau: float = 0.95,
        scale: float = 1.0,
        averaged: bool = False,
        own_models: bool = False,
        chosen: Sequence[str] | None = None,
        epochs: int | None = None,
        poison_share: float = 0.5,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.form = one_of("form", Form, form)
        self.tau = positive_share("tau", tau)
        self.scale = positive("scale", scale)
        self.averaged, self.own_models = averaged, own_models
        self.chosen = None if chosen is None else tuple(chosen)

    def setup(self, setting: AttackSetting) -> None:
        """Are the layers there?"""
        super().setup(setting)
        names = [layer.name for layer in setting.layers]
        if unknown := sorted({*(self.chosen or ())} - {*names}):
            raise ValueError(f"chosen must be among {', '.join(names)}; got {', '.join(unknown)}")

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """An honest lane, and one on three quarters of the poison."""
        planted, _ = parted(client, client.poison(backdoor))
        return [client.honest_lane(), self.trained(client, self.poisoned(client, planted))]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Substitute."""
        honest, malicious = updates[:, 0], updates[:, 1]
        if self.averaged:
            honest = honest.mean(dim=0).expand_as(honest)
        result = honest.clone()
        for row in range(len(result)):
            for layer in self._chosen(row, honest[row], malicious[row], context):
                mine, theirs = malicious[row, layer.place], honest[row, layer.place]
                blend = self.scale * mine + max(0.0, 1 - self.scale) * theirs
                result[row, layer.place] = blend if self.form == "lp" else -mine
        return result

    def _chosen(
        self, row: int, honest: Tensor, malicious: Tensor, context: AttackContext
    ) -> Sequence[Layer]:
        if self.chosen is not None:
            return [layer for layer in context.layers if layer.name in self.chosen]
        bench, backdoor = workbench_of(context, self)
        client, start = context.members[row], context.start
        seen, unseen = parted(client, client.poison(backdoor))
        unseen = relabelled(unseen, bench)
        if self.own_models:
            honest, malicious = own_updates(client, seen, bench, start)

        def rate(update: Tensor) -> float:
            return bench.accuracy(start + update, unseen)

        return critical(honest, malicious, context.layers, rate, self.tau)


def own_updates(
    client: CompromisedClient, poison: Examples, bench: Workbench, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Updates that are used for nothing but to tell which layers a backdoor needs, ``(P,)`` each.

    The honest model is trained from w_t on three quarters of the local data, by SGD (0.1, momentum
    0.5 that every pass begins anew, batches of 64), until it reads 90 % of them; that is looked at
    before, and after every fourth pass of at most 32. From there the malicious one takes a pass
    over these and the poison together, in batches of 128 (in the paper's code 64 images and a copy
    of each).
    """
    local, _ = parted(client, client.local)

    def passed(theta: Tensor, examples: Examples, size: int, number: int) -> Tensor:
        lane = client.batches(examples, 1, size, f"identification/{number}")
        rates = (_RATE,) * lane.num_steps
        lane = replace(lane, rates=rates, rule=Momentum(rates, _MOMENTUM))
        return theta + bench.train(theta, [lane], client.round)[0]

    honest, passes = start, 0
    while passes < _MOST_PASSES and bench.accuracy(honest, local) < _ENOUGH:
        for _ in range(_LOOKED_AT_EVERY):
            honest, passes = passed(honest, local, _BATCH, passes), passes + 1
    malicious = passed(honest, local + poison, 2 * _BATCH, passes)
    return honest - start, malicious - start


def parted(client: CompromisedClient, poison: Examples) -> tuple[Examples, Examples]:
    """Poison to train on, and a quarter to validate on; where there is little, all for both."""
    source = generator(client.seed, client.round, f"validation/{client.slot}")
    order, count = torch.randperm(len(poison), generator=source), len(poison) // 4
    if not count:
        return poison, poison
    unseen, seen = order[:count], order[count:]
    return (
        Examples(poison.indices[seen], poison.labels[seen]),
        Examples(poison.indices[unseen], poison.labels[unseen]),
    )


def critical(
    honest: Tensor,
    malicious: Tensor,
    layers: Sequence[Layer],
    rate: Callable[[Tensor], float],
    tau: float,
) -> list[Layer]:
    """The layers that a backdoor needs, see :class:`LayerSubstitution`.

    Args:
        honest, malicious: Δ^b and Δ^m, ``(P,)``.
        layers: where they lie.
        rate: backdoor accuracy with an update.
        tau: τ.
    """

    def swapped(base: Tensor, other: Tensor, some: Sequence[Layer]) -> float:
        tried = base.clone()
        for layer in some:
            tried[layer.place] = other[layer.place]
        return rate(tried)

    full = rate(malicious)
    if not full > 0:
        return []
    order = sorted(layers, key=lambda layer: swapped(malicious, honest, [layer]))
    for n in range(1, len(order)):
        if swapped(honest, malicious, order[:n]) >= tau * full:
            return order[:n]
    return order
