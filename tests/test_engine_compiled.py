"""Compiled local steps against the hand-written loop, over chains of layers made up at random."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.layout import supported
from benchmark.engine.native import available
from benchmark.engine.plan import Lane
from benchmark.models.cnn import PaperCNN, SmallCNN
from tests.test_engine import DATA, assert_engine_is_right, lane, some_lane

pytestmark = pytest.mark.skipif(not available(), reason="no C compiler")


@st.composite
def chain(draw: st.DrawFn) -> nn.Sequential:
    """Convolutions, pooling, ReLU and dropout in almost any order, then dense layers."""
    layers: list[nn.Module] = []
    channels, side = 1, 28

    def extras() -> None:
        for _ in range(draw(st.integers(0, 2))):
            rate = draw(st.sampled_from([0.0, 0.3]))
            layers.append(draw(st.sampled_from([nn.ReLU(), nn.Dropout(rate)])))

    for _ in range(draw(st.integers(0, 3))):
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        if not layers or draw(st.booleans()):
            assume(side >= kernel)
            filters = draw(st.integers(1, 9))
            layers.append(nn.Conv2d(channels, filters, kernel, stride))
            channels, side = filters, (side - kernel) // stride + 1
        else:
            assume(side >= kernel)
            layers.append(nn.MaxPool2d(kernel))
            side //= kernel
        extras()
    layers.append(nn.Flatten())
    inputs = channels * side * side
    for _ in range(draw(st.integers(0, 2))):
        outputs = draw(st.integers(1, 19))
        layers.append(nn.Linear(inputs, outputs))
        inputs = outputs
        extras()
    layers.append(nn.Linear(inputs, 10))
    return nn.Sequential(*layers)


def drawn_at_random(model: nn.Module, seed: int) -> ClientModule:
    """A client in float64 whose activations neither vanish nor grow, biases among them."""
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        bound = (2 / max(parameter[0].numel(), 1)) ** 0.5
        nn.init.uniform_(parameter, -bound, bound, generator=source)
    return ClientModule(model, lr=0.01).double()


@given(model=chain(), lanes=st.lists(lane(), min_size=1, max_size=2), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_any_chain_of_layers_trains_as_by_hand(model: nn.Module, lanes: list[Lane], seed: int):
    client = drawn_at_random(model, seed)
    engine = CpuEngine(workers=1)
    engine.setup(client, DATA)
    assert engine.kind == "compiled"
    assert_engine_is_right(engine, client, lanes)


@pytest.mark.parametrize("model", [SmallCNN, PaperCNN])
def test_the_benchmarks_models_are_compiled(model: type[nn.Module]):
    assert supported(ClientModule(model(), lr=0.1))


class UsedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.hidden, self.last = nn.Flatten(), nn.Linear(784, 784), nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.hidden(self.hidden(self.flatten(images))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 10), nn.Linear(10, 10), nn.Linear(10, 10)
        )
        self.layers[3].weight = self.layers[2].weight

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        self.spare = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class PooledFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(1, 3, 5), nn.Flatten(), nn.Linear(300, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.last = nn.Flatten(), nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        flat = self.flatten(images)
        return self.last(flat + flat * flat)


@pytest.mark.parametrize("model", [UsedTwice, Tied, PooledFirst, Residual])
def test_what_compiled_code_cannot_do_is_trained_right_all_the_same(model: type[nn.Module]):
    torch.manual_seed(0)
    client = ClientModule(model(), lr=0.01).double()
    engine = CpuEngine(workers=1)
    assert_engine_is_right(engine, client, [some_lane(5), some_lane(3)])
    assert engine.kind == "autograd"


def test_a_parameter_that_no_layer_uses_is_not_compiled_away():
    assert not supported(ClientModule(Unused(), lr=0.1))
