"""Residual networks: their size, their shapes, what they refuse."""

import pytest
import torch
from torch import nn

from benchmark.models.normalize import Normalize
from benchmark.models.resnet import ResNet

SMALL, LARGE = ((1, 1, 1), (16, 32, 64)), ((2, 2, 2, 2), (64, 128, 256, 512))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(
    ("stages", "convolutions", "parameters"), [(SMALL, 9, 78_042), (LARGE, 20, 11_173_962)]
)
def test_a_residual_network_has_the_published_size(
    norm: str, stages: tuple, convolutions: int, parameters: int
) -> None:
    made = ResNet(10, (3, 32, 32), *stages, norm=norm)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert sum(isinstance(m, nn.Conv2d) for m in made.modules()) == convolutions


@pytest.mark.parametrize("image", [(3, 32, 32), (1, 28, 28), (3, 17, 40)])
def test_images_of_any_size_are_read(image: tuple[int, ...]) -> None:
    made = ResNet(7, image, *SMALL, groups=4)
    assert made(torch.rand(2, *image)).shape == (2, 7)
    assert made.layers[4].body[0].stride == (2, 2)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"norm": "layer"}, "norm must be one of group, batch"),
        ({"blocks": [1]}, "blocks and channels must name the same stages"),
        ({"blocks": [], "channels": []}, "blocks and channels must name the same stages"),
        ({"blocks": [1, 0, 1]}, "blocks must be at least 1"),
        ({"groups": 5}, "groups must divide the channels of every stage: 5, 16"),
    ],
)
def test_what_is_no_network_is_refused(changes: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ResNet(**{"blocks": [1, 1, 1], "channels": [16, 32, 64], **changes})


def test_normalization_is_of_each_channel() -> None:
    images = torch.rand(4, 2, 3, 5)
    found = Normalize([0.5, 0.25], [0.2, 2.0])(images)
    assert torch.allclose(found[:, 0], (images[:, 0] - 0.5) / 0.2)
    assert torch.allclose(found[:, 1], (images[:, 1] - 0.25) / 2)
    assert not list(Normalize([0.5], [1.0]).parameters())
    nan = float("nan")
    for wrong in (([0.5], [0.0]), ([0.5], [1, 1]), ([], []), ([nan], [1]), ([0.5], [nan])):
        with pytest.raises(ValueError, match="as many channels, finite, deviations above 0"):
            Normalize(*wrong)
