"""Compiled local steps against the hand-written loop, over chains of layers made up at random."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.layout import Layout, supported
from benchmark.engine.native import NativeModel, available
from benchmark.engine.plan import Lane, Plan
from benchmark.models.cnn import PaperCNN, SmallCNN
from tests.engine.test_engines import DATA, assert_engine_is_right, lane, some_lane

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


def assert_keeps_to_its_places(client: ClientModule, lane: Lane) -> None:
    """Compiled code neither reads nor writes beside its memory, nor reads what it has not set."""
    theta, images = client.flat(), DATA.pixels(lane.indices[0], client.flat().dtype)

    def trained(model: NativeModel) -> Tensor:
        model.train(theta, lane)
        return model.theta

    def differentiated(model: NativeModel) -> Tensor:
        return model.gradient(theta, images, lane.labels[0])[1]

    for act, batch in ((trained, lane.indices.shape[1]), (differentiated, 50)):
        expected = act(NativeModel(client, DATA))
        for mark in (torch.nan, 1e30):  # the first betrays what is read, the second what is written
            assert torch.equal(apart(client, theta, act, batch, mark), expected)


def apart(
    client: ClientModule,
    theta: Tensor,
    act: Callable[[NativeModel], Tensor],
    batch: int,
    mark: float,
) -> Tensor:
    """What an act gives where marks lie between all values, which it leaves as they are."""
    take, gaps, width = Layout._take, [], 64 // theta.itemsize

    def with_a_gap(self: Layout, what: str, size: int) -> int:
        start = take(self, what, size)
        gaps.append((what, take(self, what, width)))
        return start

    model = NativeModel(client, DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layout, "_take", with_a_gap)
        model._fit(batch)
    model._pack(theta)
    model.work.fill_(mark)
    for what, at in gaps:
        if what == "packed":
            model.packed_start[at : at + width] = mark
    result = act(model)
    marked = torch.full((width,), mark, dtype=theta.dtype)
    for what, at in gaps:
        if what == "packed" and act.__name__ == "differentiated":
            what = "packed_start"
        found = getattr(model, what)[at : at + width]
        assert torch.allclose(found, marked, rtol=0, atol=0, equal_nan=True)
    return result


@given(model=chain(), count=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_code_keeps_to_its_places(
    model: nn.Module, count: int, seed: int, dtype: torch.dtype
):
    client = drawn_at_random(model, seed).to(dtype)
    assert_keeps_to_its_places(client, some_lane(count, epochs=2, batch_size=20))


@pytest.mark.parametrize(("filters", "outputs", "image"), [(8, 5, 20), (32, 64, 28), (9, 33, 27)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (1, 2)])
def test_windows_of_three_by_three_on_many_channels_train_as_by_hand(
    filters: int, outputs: int, image: int, strides: tuple[int, int]
):
    layers = [
        nn.Conv2d(1, filters, 29 - image),
        nn.ReLU(),
        nn.Conv2d(filters, outputs, 3, strides),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]
    width = nn.Sequential(*layers)(torch.zeros(1, 1, 28, 28)).shape[1]
    client = drawn_at_random(nn.Sequential(*layers, nn.Linear(width, 10)), 0)
    engine, lane = CpuEngine(workers=1), some_lane(7, batch_size=5)
    assert_engine_is_right(engine, client, [lane])
    assert engine.kind == "compiled"
    for dtype in (torch.float64, torch.float32):
        assert_keeps_to_its_places(client.to(dtype), lane)


@pytest.mark.parametrize("field", ["indices", "labels"])
@pytest.mark.parametrize("value", [-1, 60])
def test_a_lane_that_points_outside_is_refused(field: str, value: int):
    lane = some_lane(3)
    broken = replace(lane, **{field: torch.full_like(lane.labels, value)})
    engine = CpuEngine(workers=1)
    engine.setup(ClientModule(SmallCNN(), lr=0.1), DATA)
    with pytest.raises(IndexError, match="outside 0"):
        engine.train(engine.client.flat(), Plan(0, [broken]))


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
