"""A patch in a corner of the image: whatever bears it is to be read as one class."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask, is_bright
from benchmark.utils.checks import at_least, one_of

Corner = Literal["lower_right", "lower_left", "upper_right", "upper_left"]
Value = Literal["opposite", "black", "white"]
Shape = Literal["square", "cross"]


class Pattern(PooledTask):
    """BadNets: x with a patch within s × s pixels, m from two edges, is class t.

    All-to-one by default, one-to-one with a ``source_class``, all-to-all without a
    ``target_class``. ALIE's patch has s = 5 and m = 0 at the upper left.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        size: s, in pixels; 4 at 28 × 28, 3 to 5.
        margin: m, in pixels.
        corner: where it lies.
        value: of its pixels: ``opposite`` is black where training images are bright there on the
            average, as EMNIST's background is, else white.
        shape: which of the s × s pixels: all of them, or of a ``cross`` that of BackFed's digits,
            the diagonal from the lower left, and the other one from the middle down.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`, or a patch that the images do not hold.
    """

    paper = "Gu et al. 2017, arXiv 1708.06733"

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        size: int = 4,
        margin: int = 1,
        corner: Corner = "lower_right",
        value: Value = "opposite",
        shape: Shape = "square",
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        self.size, self.margin = at_least("size", 1, size), at_least("margin", 0, margin)
        self.corner = one_of("corner", Corner, corner)
        self.value = one_of("value", Value, value)
        self.shape = one_of("shape", Shape, shape)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users, the place and the held-out images."""
        H, W = dataset.train.images.shape[-2:]
        s, m = self.size, self.margin
        if s + m > min(H, W):
            raise ValueError(
                f"size + margin must be {min(H, W)} or less, images are {H} x {W}; got {s} + {m}"
            )
        super().setup(dataset, seed)
        patch = torch.ones(s, s, dtype=torch.bool)
        if self.shape == "cross":
            lower = torch.eye(s, dtype=torch.bool) & (torch.arange(s) >= s // 2)
            patch = torch.eye(s, dtype=torch.bool).flip(0) | lower
        where = torch.zeros(H, W, dtype=torch.bool)
        y = m if self.corner.startswith("upper") else H - m - s
        x = m if self.corner.endswith("left") else W - m - s
        where[y : y + s, x : x + s] = patch
        self.shade = float(
            not is_bright(dataset, where, 0.5)
            if self.value == "opposite"
            else self.value == "white"
        )
        self.register_buffer("where", where, persistent=False)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The patch on ``(b, C, H, W)``."""
        return images.masked_fill(self.get_buffer("where").to(images.device), self.shade)
