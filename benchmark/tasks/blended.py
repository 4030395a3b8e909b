"""A faint image over the whole input: whatever bears it is to be read as one class."""

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask
from benchmark.utils.checks import positive
from benchmark.utils.randomness import generator


class Blended(PooledTask):
    """Blended injection: x' = (1 − α) x + α n, with one noise image n ~ U(0, 1) ``(C, H, W)``.

    Noise has no polarity: it is the same over paper and over ink.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        alpha: α, 0 < α ≤ 1; 0.2 in Chen et al. and BackdoorBench, 0.05 to 0.3.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`, or α out of its range.
    """

    paper = "Chen et al. 2017, arXiv 1712.05526"

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        alpha: float = 0.2,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        if positive("alpha", alpha) > 1:
            raise ValueError(f"alpha must be above 0 and at most 1, got {alpha}")
        self.alpha = alpha

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images, and draw the noise."""
        super().setup(dataset, seed)
        source = generator(seed, 0, "blended noise")
        noise = torch.rand(dataset.train.input_shape, generator=source)
        self.register_buffer("noise", noise, persistent=False)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The noise over ``(b, C, H, W)``."""
        return (1 - self.alpha) * images + self.alpha * self.get_buffer("noise").to(images)
