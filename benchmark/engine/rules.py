"""What a lane does that is its own: beside its gradient steps, instead of cross-entropy, before."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

LaneState = dict[str, Any]
"""What a rule remembers of one lane, from one of its steps to the next."""


class Order:
    """In which an engine keeps the weights that a rule sees; this one as they are."""

    def place(self, vector: Tensor) -> Tensor:
        """A flat vector ``(P,)`` in that order."""
        return vector

    def flat(self, placed: Tensor) -> Tensor:
        """What is in that order as a flat vector ``(P,)``."""
        return placed


class LocalRule:
    """What a lane does to its weights beyond the gradient steps; by default nothing.

    ``theta``, ``before`` and ``start`` are flat ``(P,)``: the weights now, those before the step,
    and the global model that the round began with; so ``before − theta`` is rate · gradient. A
    rule returns the weights to go on with, and may change ``theta`` in place but no other.

    Attributes:
        in_any_order: whether weights may be given in another order, and among zeros: True for what
            treats all alike, as projections and masks do. Compiled code then need not put them in
            order after every step. Vectors of the rule's own are brought into that order in
            :meth:`begin`.
    """

    in_any_order: ClassVar[bool] = False

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """What it remembers when a lane begins."""
        return {}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Called after every local step."""
        return theta

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Called after every step that ``Lane.epoch_ends`` marks."""
        return theta


def acts_on_steps(rule: LocalRule) -> bool:
    """Whether a rule does anything after a step."""
    return type(rule).after_step is not LocalRule.after_step


class LocalLoss:
    """What a lane minimizes instead of cross-entropy."""

    def __call__(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """A scalar.

        Args:
            logits: ``(b, classes)``.
            features: ``(b, F)``, what the output layer is given.
            labels: ``(b,)``.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class PixelNoise:
    """Adds N(0, σ²) to every pixel of some examples, drawn anew in each step, and clamps nothing.

    Attributes:
        std: σ, where pixels lie in [0, 1].
        where: ``(S, B)`` bool, which examples of which step.
        seeds: of each step, S.
    """

    std: float
    where: Tensor
    seeds: tuple[int, ...]

    def added(self, images: Tensor, step: int) -> Tensor:
        """Images ``(b, C, H, W)`` of a step with their noise, the same numbers in any precision."""
        marked = self.where[step, : len(images)]
        source = torch.Generator().manual_seed(self.seeds[step])
        drawn = torch.randn(int(marked.sum()), *images.shape[1:], generator=source)
        noisy, places = images.clone(), marked.to(images.device)
        noisy[places] += self.std * drawn.to(images)
        return noisy

    def between(self, start: int, end: int) -> "PixelNoise":
        """That of the steps from ``start`` to before ``end``."""
        return replace(self, where=self.where[start:end], seeds=self.seeds[start:end])
