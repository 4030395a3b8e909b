"""Training inside of a mask."""

from collections.abc import Callable

from torch import Tensor

from benchmark.engine.plan import LocalRule


class Masked(LocalRule):
    """Weights outside of a mask are 0 after every step.

    Args:
        mask: gives ``(P,)`` bool, True where a weight may be; asked when a lane is trained.
    """

    def __init__(self, mask: Callable[[], Tensor]):
        self.mask = mask

    def after_step(self, theta: Tensor, start: Tensor) -> Tensor:
        """θ in the mask."""
        return theta * self.mask().to(theta)

    def after_epoch(self, theta: Tensor, start: Tensor) -> Tensor:
        """The global model in the mask: what a marked step trained is dropped."""
        return start * self.mask().to(theta)
