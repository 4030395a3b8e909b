"""Evaluation by the cpu engine: the model in evaluation mode, shared out to the workers.

And the gradient of what it evaluates to.
"""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.engine.auto import AutoEngine
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.native import available
from benchmark.engine.plan import Plan
from benchmark.engine.ray import RayEngine
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.testing.toys import seeded
from tests.engine.test_compiled import chain, drawn_at_random
from tests.engine.test_engines import DATA, some_lane
from tests.support.toys import tiny_client

compiled_only = pytest.mark.skipif(not available(), reason="no C compiler")
COMPILED = [pytest.param(True, marks=compiled_only), False]


def images(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=seeded(count), dtype=dtype)


def ready(engine: Engine, client: ClientModule, kind: str = "") -> Engine:
    engine.setup(client, DATA)
    assert engine.kind == kind or not kind
    return engine


def by_hand(client: ClientModule, theta: Tensor, pictures: Tensor) -> Tensor:
    client = copy.deepcopy(client)
    client.load(theta)
    with torch.no_grad():
        return client.eval()(pictures)


def assert_close(logits: Tensor, expected: Tensor) -> None:
    assert logits.shape == expected.shape
    assert logits.dtype == expected.dtype
    assert not logits.requires_grad
    assert (logits - expected).norm() <= 1e-12 * expected.norm()


@compiled_only
@given(model=chain(), count=st.integers(0, 23), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_any_chain_of_layers_predicts_as_torch_does(model: nn.Module, count: int, seed: int):
    client = drawn_at_random(model, seed)
    engine = ready(CpuEngine(workers=1), client, "compiled")
    theta, pictures = client.flat(), images(count)
    assert_close(engine.predictor(theta)(pictures), by_hand(client, theta, pictures))


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("model", [SmallCNN, PaperCNN])
def test_the_real_models_predict_with_the_weights_given_and_nothing_dropped(
    model: type[nn.Module], compiled: bool
):
    torch.manual_seed(0)
    client = ClientModule(model(), lr=0.1).double()
    engine = ready(CpuEngine(2, compiled), client)
    pictures = images(64)
    for theta in (client.flat(), client.flat() * 1.1):
        assert_close(engine.predictor(theta)(pictures), by_hand(client, theta, pictures))


@pytest.mark.parametrize("compiled", COMPILED)
def test_the_bits_depend_neither_on_workers_nor_on_threads(compiled: bool):
    torch.manual_seed(0)
    client = ClientModule(SmallCNN(), lr=0.1)
    pictures = images(333, torch.float32)

    def predicted(workers: int, pictures: Tensor) -> Tensor:
        engine = ready(CpuEngine(workers, compiled), client)
        return engine.predictor(client.flat())(pictures)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = predicted(1, pictures)
        for workers in (1, 2, 5):
            torch.set_num_threads(2)
            assert torch.equal(predicted(workers, pictures), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("compiled", COMPILED)
def test_prediction_leaves_training_as_it_was(compiled: bool):
    client = drawn_at_random(PaperCNN(), 0).float()
    engine = ready(CpuEngine(2, compiled), client)
    plan = Plan(0, [some_lane(5), some_lane(23, batch_size=20)])
    theta = client.flat()
    expected = ready(CpuEngine(2, compiled), client).train(theta, plan).updates
    for _ in range(2):
        predict = engine.predictor(theta + 1)
        first = predict(images(70, torch.float32))
        assert torch.equal(engine.train(theta, plan).updates, expected)
        again = engine.predictor(theta + 1)(images(70, torch.float32))
        assert torch.equal(again, first)


def test_a_predictor_keeps_its_weights_though_theta_moves_on():
    client = tiny_client()
    engine = ready(CpuEngine(workers=1), client)
    theta = client.flat()
    predict = engine.predictor(theta)
    expected = predict(images(3))
    theta += 1
    assert torch.equal(predict(images(3)), expected)
    assert not torch.equal(engine.predictor(theta)(images(3)), expected)


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("count", [0, 1, 51])
def test_images_of_any_number_precision_and_stride_are_read(compiled: bool, count: int):
    client = drawn_at_random(SmallCNN(), 0)
    engine = ready(CpuEngine(2, compiled), client)
    theta, pictures = client.flat(), images(count, torch.float32)
    turned = pictures.transpose(2, 3)
    for given_images in (pictures, turned, turned.double()):
        logits = engine.predictor(theta)(given_images)
        assert_close(logits, by_hand(client, theta, given_images.double()))


@compiled_only
@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 1, 27, 28), (2, 1, 28 * 28)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]):
    client = drawn_at_random(SmallCNN(), 0)
    engine = ready(CpuEngine(workers=1), client)
    with pytest.raises(ValueError, match=r"images must be \(b, 1, 28, 28\), got"):
        engine.predictor(client.flat())(torch.zeros(shape, dtype=torch.float64))


def test_the_reference_engine_predicts_alike():
    client = tiny_client(dropout=0.4)
    theta, pictures = client.flat() * 2, images(7)
    logits = ready(ReferenceEngine(), client).predictor(theta)(pictures)
    assert torch.equal(logits.detach(), by_hand(client, theta, pictures))


def labels(count: int) -> Tensor:
    return torch.randint(10, (count,), generator=seeded(count))


@compiled_only
@given(model=chain(), count=st.integers(1, 120), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_any_chain_of_layers_differentiates_as_torch_does(model: nn.Module, count: int, seed: int):
    client = drawn_at_random(model, seed)
    bench = Workbench(client, ready(CpuEngine(workers=1), client, "compiled"), DATA)
    given_these = client.flat(), images(count), labels(count)
    for found, expected in zip(
        bench.slope(*given_these), bench.gradient(*given_these), strict=True
    ):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert (found - expected).norm() <= 1e-12 * expected.norm()


@compiled_only
def test_a_gradient_keeps_its_bits_whatever_came_before_and_training_too():
    client = drawn_at_random(PaperCNN(), 0).float()
    theta, pictures = client.flat(), images(70, torch.float32)
    plan = Plan(0, [some_lane(23, batch_size=20)])
    fresh = ready(CpuEngine(1), client).gradient(theta, pictures, labels(70))
    updates = ready(CpuEngine(1), client).train(theta, plan).updates
    engine = ready(CpuEngine(1), client)
    assert fresh
    for _ in range(2):
        assert torch.equal(engine.train(theta, plan).updates, updates)
        theta += 1
        engine.predictor(theta)(pictures)
        engine.gradient(theta, pictures, labels(70))
        theta.copy_(client.flat())
        again = engine.gradient(theta, pictures, labels(70))
        assert again
        assert all(map(torch.equal, again, fresh))


@compiled_only
@pytest.mark.parametrize("label", [-1, 10])
def test_a_gradient_of_a_label_that_there_is_not_is_refused(label: int):
    engine = ready(CpuEngine(1), client := drawn_at_random(SmallCNN(), 0))
    with pytest.raises(IndexError, match=r"label is outside 0 \.\. 9"):
        engine.gradient(client.flat(), images(2), torch.tensor([0, label]))


def test_without_compiled_code_a_slope_is_the_gradient():
    client = tiny_client()
    for engine in (CpuEngine(1, compiled=False), ReferenceEngine()):
        bench = Workbench(client, ready(engine, client), DATA)
        given_these = client.flat(), images(5).to(client.flat()), labels(5) % 2
        assert all(map(torch.equal, bench.slope(*given_these), bench.gradient(*given_these)))


@compiled_only
def test_an_engine_that_has_another_one_differentiates_by_it():
    client = drawn_at_random(SmallCNN(), 0)
    given_these = client.flat(), images(5), labels(5)
    cpu, auto, over_ray = ready(CpuEngine(1), client), AutoEngine(1), RayEngine()
    assert ready(auto, client).gradient(*given_these) is None
    expected, auto.chosen, over_ray.own = cpu.gradient(*given_these), cpu, cpu
    for engine in (auto, over_ray):
        found = engine.gradient(*given_these)
        assert expected
        assert found
        assert all(map(torch.equal, found, expected))
