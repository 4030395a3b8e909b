"""The two networks and the keyed dropout."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Examples, Plan, batches
from benchmark.engine.reference import ReferenceEngine
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.models.dropout import KeyedDropout, key_dropouts, set_keys
from benchmark.testing.toys import make_split, seeded


@pytest.mark.parametrize(
    ("model", "classes", "parameters"),
    [
        (PaperCNN, 10, 1_199_882),
        (SmallCNN, 10, 56_970),
        (PaperCNN, 62, 1_199_882 + 52 * 129),
        (SmallCNN, 62, 56_970 + 52 * 65),
    ],
)
def test_a_model_has_the_stated_number_of_parameters(
    model: type[nn.Module], classes: int, parameters: int
):
    made = model(num_classes=classes)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert made(torch.zeros(2, 1, 28, 28)).shape == (2, classes)


@pytest.mark.parametrize(("model", "least"), [(PaperCNN, 6), (SmallCNN, 9)])
def test_a_model_takes_the_images_that_it_is_built_for(model: type[nn.Module], least: int):
    for image in ((3, 32, 32), (3, 64, 48), (1, least, least)):
        assert model(image=image)(torch.zeros(2, *image)).shape == (2, 10)
    with pytest.raises(ValueError, match=f"images of 28 x {least - 1} are too small"):
        model(image=(1, 28, least - 1))


@pytest.mark.parametrize("model", [PaperCNN, SmallCNN])
def test_weights_begin_glorot_uniform_and_biases_zero(model: type[nn.Module]):
    torch.manual_seed(0)
    layers = [m for m in model().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        outputs, inputs, *kernel = layer.weight.shape
        receptive = int(np.prod(kernel)) if kernel else 1
        bound = (6 / ((inputs + outputs) * receptive)) ** 0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.97 * bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert (layer.bias == 0).all()


def test_the_papers_network_drops_a_quarter_and_a_half():
    dropped = [m.p for m in PaperCNN().modules() if isinstance(m, nn.Dropout)]
    assert dropped == [0.25, 0.5]
    assert [m.p for m in PaperCNN(dropout=False).modules() if isinstance(m, nn.Dropout)] == [0, 0]


def mask(p: float, seed: int = 0, step: int = 0, layer: int = 0, count: int = 100_000) -> Tensor:
    layers = [KeyedDropout(p) for _ in range(layer + 1)]
    set_keys(layers, seed, step)
    return layers[layer](torch.ones(count))


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_expectation(p: float):
    kept = mask(p)
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    # three standard deviations of a binomial share
    assert (kept == 0).double().mean().item() == pytest.approx(
        p, abs=3 * (p * (1 - p) / 1e5) ** 0.5
    )


def test_masks_are_independent_over_steps_layers_lanes_and_neighbors():
    base = mask(0.5)
    others = [mask(0.5, step=s) for s in range(1, 20)]
    others += [mask(0.5, layer=s) for s in range(1, 20)]
    others += [mask(0.5, seed=s) for s in range(1, 20)]
    others += [base.roll(s) for s in (1, 2, 64, 9216)]
    correlations = torch.corrcoef(torch.stack([base, *others]))[0, 1:]
    assert correlations.abs().max() < 4 / 100_000**0.5
    assert torch.equal(mask(0.5), base)


def test_a_mask_is_the_documented_hash():
    def lowbias32(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.uint32)
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))

    def one(x: int) -> int:
        return int(lowbias32(np.array([x & 0xFFFFFFFF], dtype=np.uint64))[0])

    seed, step, layer = 2**62 + 12345, 7, 2
    key = one(one(one(seed) + step) + layer)
    uniform = (lowbias32(np.arange(1000, dtype=np.uint32) ^ np.uint32(key)) >> np.uint32(8)) / 2**24
    expected = torch.from_numpy((uniform >= 0.3).astype(np.float32)) / 0.7
    assert torch.equal(mask(0.3, seed, step, layer, count=1000), expected)


def test_dropout_is_inactive_in_evaluation_and_at_rate_zero():
    x = torch.randn(5, 7, generator=seeded())
    assert torch.equal(KeyedDropout(0.5).eval()(x), x)
    assert torch.equal(KeyedDropout(0.0)(x), x)


def test_every_dropout_layer_is_replaced_at_any_depth():
    model = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2)))
    assert [layer.p for layer in key_dropouts(model)] == [0.1, 0.2]
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())


class Probe(nn.Module):
    """Linear behind dropout; shows which inputs were kept."""

    seen: ClassVar[list[Tensor]] = []

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        Probe.seen.append(self.dropout(torch.ones_like(images)).detach())
        return self.linear(images.flatten(1))


def test_all_engines_draw_the_same_masks():
    data = make_split([8], seeded())
    client = ClientModule(Probe(), lr=0.1)
    lane = batches(Examples(torch.arange(8), data.labels), 2, 3, seeded())
    plan = Plan(0, [replace(lane, dropout_seed=s) for s in (3, 4)])
    seen = []
    engines: list[Engine] = [ReferenceEngine(), CpuEngine(workers=1)]
    for engine in engines:
        engine.setup(client, data)
        Probe.seen.clear()
        engine.train(client.flat(), plan)
        seen.append([m.clone() for m in Probe.seen])
    assert len(seen[0]) == 2 * lane.num_steps
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert len({tuple(m.flatten()[:200].tolist()) for m in seen[0]}) == len(seen[0])
