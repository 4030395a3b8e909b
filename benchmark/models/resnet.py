"""Residual networks for small images, with a normalization that clients can average."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from benchmark.utils.checks import at_least, one_of

Norm = Literal["group", "batch"]


class ResNet(nn.Module):
    """The residual network of He et al. 2016 for small images: a 3 × 3 stem, no max-pooling.

    A stem convolution, then stages of basic blocks, ``relu(x + conv(relu(conv(x))))`` with a
    normalization behind every convolution; the first block of every stage but the first halves
    the image. Where shapes change, x goes through a 1 × 1 convolution. Mean over the image, then a
    dense layer: any height and width will do. Convolutions begin as in He et al. 2015.

    ``resnet18`` is the network of the ImageNet table with this stem, 11.2 million parameters;
    ``resnet8`` the one for CIFAR (section 4.2) with n = 1, 78,000 parameters, with 1 × 1
    convolutions for shortcuts as in MLPerf Tiny (Banbury et al. 2021).

    Args:
        num_classes: number of classes.
        image: channels, height and width of an image.
        blocks: of each stage.
        channels: of each stage.
        norm: ``group`` (Wu and He 2018; Hsieh et al. 2020: batches of clients with unlike data
            break BatchNorm) or ``batch``, whose running statistics are averaged over clients, see
            :class:`benchmark.engine.client.ClientModule`.
        groups: of channels that GroupNorm normalizes together; 2 in Reddi et al. 2021, and a
            divisor of all channels. Not used with ``batch``.

    Shape:
        images ``(b, C, H, W)`` → logits ``(b, num_classes)``.

    Raises:
        ValueError: an unknown ``norm``, as many ``blocks`` as ``channels`` are not given, or
            ``groups`` does not divide the channels.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image: Sequence[int] = (3, 32, 32),
        blocks: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (64, 128, 256, 512),
        norm: Norm = "group",
        groups: int = 2,
    ):
        super().__init__()
        one_of("norm", Norm, norm)
        if not blocks or len(blocks) != len(channels):
            raise ValueError(
                f"blocks and channels must name the same stages, got {blocks} and {channels}"
            )
        at_least("blocks", 1, min(blocks))
        at_least("channels", 1, min(channels))
        at_least("groups", 1, groups)
        if norm == "group" and (odd := [c for c in channels if c % groups]):
            raise ValueError(f"groups must divide the channels of every stage: {groups}, {odd[0]}")
        layers: list[nn.Module] = [*_normalized(image[0], channels[0], 3, 1, norm, groups)]
        layers.append(nn.ReLU())
        width = channels[0]
        for stage, (count, out) in enumerate(zip(blocks, channels, strict=True)):
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Block(width, out, stride, norm, groups))
                width = out
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
        self.layers = nn.Sequential(*layers, *head)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        return self.layers(images)


class Block(nn.Module):
    """The basic block of He et al. 2016: two 3 × 3 convolutions and a way around them."""

    def __init__(self, channels: int, out: int, stride: int, norm: Norm, groups: int):
        super().__init__()
        self.body = nn.Sequential(
            *_normalized(channels, out, 3, stride, norm, groups),
            nn.ReLU(),
            *_normalized(out, out, 3, 1, norm, groups),
        )
        same = stride == 1 and channels == out
        around = () if same else _normalized(channels, out, 1, stride, norm, groups)
        self.around = nn.Sequential(*around)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The same number of images, smaller by the stride."""
        return self.relu(self.body(x) + self.around(x))


def _normalized(
    channels: int, out: int, size: int, stride: int, norm: Norm, groups: int
) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)
    return convolution, nn.GroupNorm(groups, out) if norm == "group" else nn.BatchNorm2d(out)
