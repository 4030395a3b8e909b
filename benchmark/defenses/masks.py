"""Training inside of a mask."""

from collections.abc import Callable

from torch import Tensor

from benchmark.engine.rules import LaneState, LocalRule, Order


class Masked(LocalRule):
    """Weights outside of a mask are 0 after every step.

    Args:
        mask: gives ``(P,)`` bool, True where a weight may be; asked when a lane is trained.
    """

    in_any_order = True

    def __init__(self, mask: Callable[[], Tensor]):
        self.mask = mask

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """The mask, as factors."""
        return {"mask": order.place(self.mask().to(start))}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """θ in the mask."""
        return theta.mul_(state["mask"])

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """The global model in the mask: what a marked step trained is dropped."""
        return start * state["mask"]
