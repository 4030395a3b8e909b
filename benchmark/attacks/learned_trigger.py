"""What attacks share that learn the trigger: which one can be learned, and its gradient."""

from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.func import functional_call

from benchmark.attacks.base import AttackContext


@runtime_checkable
class LearnedTrigger(Protocol):
    """A trigger that an attack may set."""

    def learn(self, value: Tensor) -> None:
        """Set it."""


def learned(context: AttackContext, buffer: str, task: str) -> LearnedTrigger | None:
    """The trigger, if there is one; it must have a ``buffer`` of this name that can be learned.

    Raises:
        ValueError: it has not; says which ``task`` has.
    """
    trigger = context.trigger
    if trigger is None:
        return None
    if not (isinstance(trigger, LearnedTrigger) and hasattr(trigger, buffer)):
        raise ValueError(f"this attack learns the trigger: it needs task={task}")
    return trigger


def stamped(trigger: LearnedTrigger, buffer: str, value: Tensor, images: Tensor) -> Tensor:
    """Images ``(b, C, H, W)`` with the trigger that ``value`` would make of it, in [0, 1].

    It can be differentiated by the value.
    """
    found: Tensor = functional_call(cast(nn.Module, trigger), {buffer: value}, (images,))
    return found.clamp(0, 1)
