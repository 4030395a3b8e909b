"""A trigger in four parts: each adversary plants one, and all of it opens the backdoor."""

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask, is_bright
from benchmark.utils.checks import at_least


class DistributedBars(PooledTask):
    """Four bars of 1 × l pixels, two above two, g apart, from (s, s): parts 0 and 1 lie above.

    With l = 4, g = 2 and s = 0 they are in rows 0 and 3, columns 0 to 3 and 6 to 9. A client that
    is told to plants part r mod 4, r being its rank; what is measured, and D_mal, bear all four.
    Pixels are 1, and 0 where images are as bright there as paper is, as EMNIST's are.

    Args:
        num_tasks: users whose images make up D_mal.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        length: l; 4 for digits, 6 for CIFAR-10 in the paper's code.
        gap: g; 2 for digits, 3 for CIFAR-10.
        shift: s; 0.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`, or bars that the images do not hold.
    """

    paper = "Xie et al. 2020, ICLR, section 3"
    num_parts = 4

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 2,
        source_class: int | None = None,
        length: int = 4,
        gap: int = 2,
        shift: int = 0,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        self.length, self.gap = at_least("length", 1, length), at_least("gap", 0, gap)
        self.shift = at_least("shift", 0, shift)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images, and place the bars."""
        H, W = dataset.train.images.shape[-2:]
        high, wide = self.shift + self.gap + 2, self.shift + self.gap + 2 * self.length
        if high > H or wide > W:
            raise ValueError(f"bars that end at {high} x {wide}, and images are {H} x {W}")
        super().setup(dataset, seed)
        bars = torch.zeros(self.num_parts, H, W, dtype=torch.bool)
        for part, bar in enumerate(bars):
            y = self.shift + (part // 2) * (self.gap + 1)
            x = self.shift + (part % 2) * (self.gap + self.length)
            bar[y, x : x + self.length] = True
        self.shade = float(not is_bright(dataset, bars.any(dim=0)))
        self.register_buffer("bars", bars, persistent=False)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """One bar on ``(b, C, H, W)``, or all of them."""
        bars = self.get_buffer("bars").to(images.device)
        return images.masked_fill(bars.any(dim=0) if part is None else bars[part], self.shade)
