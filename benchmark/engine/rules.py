"""What a lane does that is its own: beside its gradient steps, and instead of cross-entropy."""

from typing import Any, ClassVar

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
