"""Chameleon: images of the target class make room for the backdoor before it is learned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient, workbench_of
from benchmark.attacks.poisoning import Poisoning, poisoned_batches, relabelled
from benchmark.attacks.rules import Ball, InTurn, Momentum, Unfrozen, Vector
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.rules import LocalLoss, LocalRule
from benchmark.utils.checks import at_least, not_negative, positive

_FALLS = (
    3,
    5,
    7,
    9,
)  # in which epoch, from 1, the first stage's rate falls; the second's: the first two
_SELF = -1e9  # instead of minus infinity, whose gradient is none


@dataclass(frozen=True)
class Contrastive(LocalLoss):
    """Supervised contrastive loss (Khosla et al. 2020) of features z, ‖z‖ = 1.

    −(1/b) Σ_i (s_i/|P_i|) Σ_{p ∈ P_i} log softmax_p(z_i · z/τ), over the others of the batch. P_i
    are those with i's label; without one i adds nothing. s_i is ``scale`` where i's label is one
    of the facilitators', the target class; else 1. |P_i| counts, whatever the scale.

    Args:
        facilitators: gives ``(t,)`` labels.
        scale: s.
        temperature: τ.
    """

    facilitators: Vector
    scale: float
    temperature: float

    def __call__(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """A scalar."""
        z = normalize(features.flatten(1), dim=1)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        alike = (labels[:, None] == labels).masked_fill(itself, False).to(z)
        likely = (z @ z.T / self.temperature).masked_fill(itself, _SELF).log_softmax(dim=1)
        scales = 1 + (self.scale - 1) * torch.isin(labels, self.facilitators().to(labels)).to(z)
        each = (alike * likely).sum(dim=1) / alike.sum(dim=1).clamp(min=1)
        return -(scales * each).mean()


class Chameleon(Poisoning):
    """Trains the encoder with a contrastive loss, freezes it, and trains the classifier with CE.

    The encoder is all but the output layer; both stages see poisoned batches. Poison and images of
    the target class, whose weight in the loss is s, are drawn together, so that honest images of
    that class keep the backdoor up later. After every step ‖w − w_t‖ ≤ M. Not boosted.

    With the paper's rates, which nearly vanish in the third epoch, later epochs do nothing.

    Args:
        scale: s, 1 to 10; 2 to 6 in the paper's configurations.
        temperature: τ, 0.01 to 1.
        contrastive_epochs: of the encoder.
        contrastive_lr: of the encoder; 0.05 for EMNIST.
        contrastive_decay: factor of the rate in epochs 3, 5, 7 and 9; 0.001 to 0.1 in the paper's
            configurations.
        epochs: of the classifier.
        lr: of the classifier.
        decay: factor of the rate in epochs 3 and 5.
        freeze: whether the encoder stays as it is while the classifier is trained.
        norm_bound: M.
        poison_share: of every batch; 7 to 20 of 64 images in the paper's configurations.
        momentum: of its SGD.
        weight_decay: of its SGD.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Dai and Li 2023, ICML, arXiv 2304.12961, and its published code"
    cost = "13/E for E local epochs of an honest one; 10 of 13 are not compiled"
    in_tests = MappingProxyType({"contrastive_epochs": 2, "epochs": 1})

    def __init__(
        self,
        scale: float = 4.0,
        temperature: float = 0.07,
        contrastive_epochs: int = 10,
        contrastive_lr: float = 0.01,
        contrastive_decay: float = 0.001,
        epochs: int = 3,
        lr: float = 0.01,
        decay: float = 0.005,
        freeze: bool = True,
        norm_bound: float = 5.0,
        poison_share: float = 0.3125,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.scale, self.temperature = (
            positive("scale", scale),
            positive("temperature", temperature),
        )
        self.contrastive_epochs = at_least("contrastive_epochs", 1, contrastive_epochs)
        self.contrastive_lr = positive("contrastive_lr", contrastive_lr)
        self.contrastive_decay = not_negative("contrastive_decay", contrastive_decay)
        self.decay, self.freeze = not_negative("decay", decay), freeze
        self.norm_bound = positive("norm_bound", norm_bound)
        self.facilitators = torch.empty(0)

    def setup(self, setting: AttackSetting) -> None:
        """Which weights are the encoder's."""
        super().setup(setting)
        encoder = torch.ones(setting.num_parameters, dtype=torch.bool)
        for layer in setting.layers:
            encoder[layer.place] = not layer.is_output
        self.register_buffer("encoder", encoder, persistent=False)

    def before_training(self, context: AttackContext) -> None:
        """Which classes are the target: not those of covers, which keep their label.

        Raises:
            ValueError: there are arrays only, or no layer before the output.
        """
        bench, backdoor = workbench_of(context, self)
        if not self.get_buffer("encoder").any():
            raise ValueError("Chameleon trains an encoder: the model is its output layer alone")
        self.facilitators = relabelled(backdoor, bench).labels.unique()

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """The encoder's lane."""
        poison = client.poison(backdoor)
        loss = Contrastive(lambda: self.facilitators, self.scale, self.temperature)
        lane = self._stage(
            client,
            poison,
            self.contrastive_epochs,
            [self.contrastive_lr * self.contrastive_decay**n for n in range(len(_FALLS) + 1)],
            self._moving(encoder=True),
            None,
        )
        return [replace(lane, loss=loss)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """The classifier's training."""
        bench, backdoor = workbench_of(context, self)
        assert self.epochs
        assert self.lr
        theta, rows = context.start, []
        for update, client in zip(updates[:, 0], context.members, strict=True):
            lane = self._stage(
                client,
                client.poison(backdoor),
                self.epochs,
                [self.lr * self.decay**n for n in range(3)],
                self._moving(encoder=False) if self.freeze else [],
                lambda: theta,
            )
            rows.append(update + bench.train(theta + update, [lane], context.round)[0])
        return torch.stack(rows)

    def _moving(self, encoder: bool) -> list[LocalRule]:
        """Only these weights move, whatever decay does."""
        if self.setting is None:  # on arrays nothing is trained
            return []
        return [Unfrozen(lambda: self.get_buffer("encoder") == encoder)]

    def _stage(
        self,
        client: CompromisedClient,
        poison: Examples,
        epochs: int,
        levels: Sequence[float],
        frozen: Sequence[LocalRule],
        center: Vector | None,
    ) -> Lane:
        """Poisoned batches at rates that fall from one of the ``levels`` to the next."""
        name = "contrastive" if center is None else "backdoor"
        parts, rates = [], list[float]()
        for e in range(epochs):
            part = poisoned_batches(client, poison, self.poison_share, f"{name}/{e}")
            parts.append(part.ending_epoch())
            fallen = sum(e + 1 >= fall for fall in _FALLS[: len(levels) - 1])
            rates += [levels[fallen]] * part.num_steps
        rule = InTurn(
            [
                Momentum(rates, self.momentum, self.weight_decay),
                *frozen,
                Ball(self.norm_bound, center=center),
            ]
        )
        return replace(reduce(Lane.then, parts), rates=tuple(rates), rule=rule)
