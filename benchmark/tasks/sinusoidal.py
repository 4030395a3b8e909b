"""Stripes over the whole input: whatever bears them is to be read as one class."""

import math

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask, is_bright
from benchmark.utils.checks import positive


class Sinusoidal(PooledTask):
    """SIG: x' = x + δ sin(2π j f / W) in column j of W; on paper, as EMNIST's, x − δ sin(...).

    ``clean_label`` is the paper's form: images of class t alone are stamped in training and keep
    their label. What is measured is the same: other classes' images, stamped.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        delta: δ; 40/255 in the paper for digits, 0.04 to 0.3.
        frequency: f, waves in an image; 6 in the paper.
        clean_label: no label is changed.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`; δ or f is not positive; clean labels without a target.
    """

    paper = "Barni et al. 2019, arXiv 1902.11237"

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        delta: float = 40 / 255,
        frequency: float = 6.0,
        clean_label: bool = False,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        if clean_label and target_class is None:
            raise ValueError("clean_label needs a target_class, whose images are stamped")
        self.delta, self.frequency = positive("delta", delta), positive("frequency", frequency)
        self.clean_label = clean_label

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images, and the sign."""
        super().setup(dataset, seed)
        self.sign = -1 if is_bright(dataset) else 1

    def plants(self, labels: Tensor) -> Tensor:
        """Of clean labels, those of class t."""
        return labels.eq(self.target_class or 0) if self.clean_label else super().plants(labels)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The stripes on ``(b, C, H, W)``."""
        columns = torch.arange(images.shape[3], dtype=images.dtype, device=images.device)
        waves = (2 * math.pi * self.frequency / len(columns) * columns).sin()
        return images + self.sign * self.delta * waves
