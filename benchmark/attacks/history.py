"""What the adversary remembers of the rounds before."""

import torch
from torch import Tensor, nn


class LastUpdate(nn.Module):
    """What the server did last, w_t − w_{t−1}; saved with checkpoints.

    Args:
        num_parameters: P.

    Attributes:
        update: ``(P,)``; 0 before there is one.
    """

    theta: Tensor
    update: Tensor
    seen: Tensor

    def __init__(self, num_parameters: int):
        super().__init__()
        self.register_buffer("theta", torch.zeros(num_parameters))
        self.register_buffer("update", torch.zeros(num_parameters))
        self.register_buffer("seen", torch.tensor(0))

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(self.seen > 1)

    def see(self, theta: Tensor) -> None:
        """The global model ``(P,)`` of the next round."""
        self.update = (theta - self.theta.to(theta)) if self.seen else torch.zeros_like(theta)
        self.theta, self.seen = theta.clone(), self.seen + 1
