"""Images to mean 0 and deviation 1, as the first layer of a model."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x − mean) / std of each channel, without parameters.

    A layer of the model, so that tasks, triggers, defenses and gradients by images see pixels in
    [0, 1] whatever a model is given.

    Args:
        mean, std: of each channel, of pixels in [0, 1].

    Raises:
        ValueError: they are not of the same number, not finite, or a deviation is not positive.

    Shape:
        images ``(b, C, H, W)`` → the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        finite = all(map(math.isfinite, [*mean, *std]))
        if len(mean) != len(std) or not mean or not finite or min(std) <= 0:
            raise ValueError(
                "pixel_mean and pixel_std must name as many channels, finite, deviations above 0; "
                f"got {list(mean)} and {list(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Channel by channel."""
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)
