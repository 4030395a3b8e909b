"""What attacks share that learn the trigger: its value, and how images bear another."""

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.attacks.base import AttackContext, Learned


@runtime_checkable
class LearnedTrigger(Protocol):
    """A trigger that an attack may set."""

    def learn(self, value: Tensor) -> None:
        """Set it."""

    def wanted(self, labels: Tensor) -> Tensor:
        """The label that inputs of these true classes ``(b,)`` are to be given."""


def learned_trigger(context: AttackContext, what: Learned) -> LearnedTrigger | None:
    """The trigger, if it has this to be learned."""
    trigger = context.trigger
    return trigger if isinstance(trigger, LearnedTrigger) and hasattr(trigger, what) else None


def value_of(trigger: LearnedTrigger, what: Learned, like: Tensor) -> Tensor:
    """What was learned so far, in another tensor's precision."""
    return cast(nn.Module, trigger).get_buffer(what).detach().clone().to(like)


def stamped(trigger: LearnedTrigger, what: Learned, value: Tensor, images: Tensor) -> Tensor:
    """Images ``(b, C, H, W)`` with the trigger that ``value`` would make of it, in [0, 1].

    It can be differentiated by the value.
    """
    found: Tensor = functional_call(cast(nn.Module, trigger), {what: value}, (images,))
    return found.clamp(0, 1)


def gradient(
    trigger: LearnedTrigger,
    what: Learned,
    value: Tensor,
    images: Tensor,
    by_images: Callable[[Tensor], Tensor],
) -> Tensor:
    """That by the value, of what has this gradient by the images that bear the trigger.

    Args:
        trigger, what, value, images: as for :func:`stamped`.
        by_images: of images with the trigger, ``(b, C, H, W)``; the same shape.
    """
    with torch.enable_grad():
        tried = value.detach().clone().requires_grad_()
        bad = stamped(trigger, what, tried, images)
        (found,) = torch.autograd.grad(bad, tried, grad_outputs=by_images(bad.detach()))
    return found
