"""A warp that is hardly seen: whatever is bent in this way is to be read as one class."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask
from benchmark.utils.checks import at_least, positive
from benchmark.utils.randomness import generator


class WaNet(PooledTask):
    """WaNet: x'(p) = x(p + s w(p) / H), bilinear, positions p in [−1, 1]² and clamped to it.

    w ``(H, W, 2)`` is a grid of k × k points, U(−1, 1) over its mean absolute value, made as large
    as the image (bicubic). Beside each stamped image two covers are planted, bent by w and by
    noise of U(−1, 1) / H at each pixel, which keep their label: so other warps are told from this
    one. Ink and paper are bent alike.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        strength: s; 0.5 in the paper, 0.25 to 1.
        grid: k; 4 in the paper, 2 to 8.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`; s is not positive, or k below 2.
    """

    paper = "Nguyen and Tran 2021, arXiv 2102.10369"
    covers = 2

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        strength: float = 0.5,
        grid: int = 4,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        self.strength, self.grid = positive("strength", strength), at_least("grid", 2, grid)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images, and draw the warp."""
        super().setup(dataset, seed)
        self.seed, (H, W) = seed, dataset.train.images.shape[-2:]
        points = torch.rand(1, 2, self.grid, self.grid, generator=generator(seed, 0, "warp"))
        points = (2 * points - 1).double()
        warp = interpolate(points / points.abs().mean(), (H, W), mode="bicubic", align_corners=True)
        axes = [torch.linspace(-1, 1, side, dtype=torch.float64) for side in (W, H)]
        straight = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)
        bent = straight + self.strength * warp[0].permute(1, 2, 0) / H
        self.register_buffer("bent", bent, persistent=False)

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The warp of ``(b, C, H, W)``."""
        return _warped(images, self.get_buffer("bent").expand(len(images), -1, -1, -1))

    def cover(self, images: Tensor, number: int) -> Tensor:
        """The warp and noise, another one for each image."""
        b, _, H, W = images.shape
        source = generator(self.seed, 0, f"warp of covers/{number}")
        noise = 2 * torch.rand(b, H, W, 2, generator=source, dtype=torch.float64) - 1
        return _warped(images, self.get_buffer("bent") + (noise / H).to(images.device))


def _warped(images: Tensor, positions: Tensor) -> Tensor:
    return grid_sample(images, positions.clamp(-1, 1).to(images), align_corners=True)
