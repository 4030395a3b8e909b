"""A patch whose pixels an attack may learn."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask
from benchmark.utils.checks import at_least


class LearnedPatch(PooledTask):
    """A patch of s × s pixels at (r, c), gray (0.5) until an attack sets it, as A3FL does.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        size: s; 5 in the paper, 2 to 7.
        row: r, of its upper left pixel, from 0; 2 in the paper's code.
        column: c; 2.
        most_tested: of the held-out images.

    Attributes:
        pattern: ``(C, s, s)`` in [0, 1], multiples of 1/255.

    Raises:
        ValueError: as :class:`PooledTask`, or a patch that the images do not hold.
    """

    paper = "Zhang et al. 2023, A3FL, NeurIPS"
    pattern: Tensor

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        size: int = 5,
        row: int = 2,
        column: int = 2,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        self.size, self.row = at_least("size", 1, size), at_least("row", 0, row)
        self.column = at_least("column", 0, column)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images."""
        C, H, W = dataset.train.input_shape
        below, right = H - self.row - self.size, W - self.column - self.size
        if below < 0 or right < 0:
            raise ValueError(
                f"a patch of {self.size} pixels at ({self.row}, {self.column}) does not fit into "
                f"images of {H} x {W}"
            )
        super().setup(dataset, seed)
        self.around = (self.column, right, self.row, below)
        self.register_buffer("pattern", torch.empty(C, self.size, self.size))
        self.learn(torch.full((C, self.size, self.size), 0.5))

    @torch.no_grad()
    def learn(self, pattern: Tensor) -> None:
        """Set the pattern ``(C, s, s)``, clamped and rounded as pixels are."""
        self.pattern.copy_((pattern.clamp(0, 1) * 255).round() / 255)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The patch on ``(b, C, H, W)``, to be differentiated by ``pattern``."""
        where = pad(torch.ones_like(self.pattern[0]), self.around).to(images)
        return images * (1 - where) + pad(self.pattern, self.around).to(images)
