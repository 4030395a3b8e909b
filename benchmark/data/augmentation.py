"""Random crops and mirrored images: how training sees an image that there is once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.utils.checks import at_least, at_most

_MOST = 127  # what int8 holds


@dataclass(frozen=True)
class Augmentation:
    """A crop of the image with a border of black, mirrored every other time, as He et al. 2016.

    Args:
        padding: width of the border, in pixels; 4 for CIFAR.
        flip: whether images are mirrored, left to right.

    Raises:
        ValueError: ``padding`` is not 0 to 127.
    """

    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        at_most("crop_padding", _MOST, at_least("crop_padding", 0, self.padding))

    def draw(self, steps: int, width: int, source: torch.Generator) -> Tensor | None:
        """Views of as many images, ``(S, B, 3)`` int8; None where each is seen as it is."""
        if not self.padding and not self.flip:
            return None
        low, high = -self.padding, self.padding + 1
        shifts = torch.randint(low, high, (steps, width, 2), generator=source)
        mirrored = torch.randint(2, (steps, width, 1), generator=source) * self.flip
        return torch.cat([shifts, mirrored], dim=2).to(torch.int8)


def viewed(images: Tensor, views: Tensor) -> Tensor:
    """What is seen of images, with gathers alone, so that a CUDA graph can hold it.

    Args:
        images: ``(b, C, H, W)``.
        views: ``(b, 3)``: rows down and columns right where the crop begins, whether it is
            mirrored.

    >>> image = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]])
    >>> viewed(image, torch.tensor([[1, -1, 0]])).tolist()
    [[[[0, 4, 5], [0, 0, 0]]]]
    >>> viewed(image, torch.tensor([[1, -1, 1]])).tolist()
    [[[[5, 4, 0], [0, 0, 0]]]]
    """
    height, width = images.shape[2:]
    down, right, mirrored = views.to(images.device, torch.int64).unbind(-1)
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored[:, None] > 0, columns.flip(0), columns) + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    places = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    flat = images.flatten(2)
    seen = flat.gather(2, places.flatten(1)[:, None].expand(-1, flat.shape[1], -1))
    return seen.view_as(images) * inside[:, None]
