"""What the vectorized engine does beside training right, which test_engine.py shows."""

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.engine import cuda
from benchmark.engine.client import ClientModule
from benchmark.engine.convolution import MatmulConv2d
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.schedule import most_common, next_chunk, rounded
from benchmark.engine.vectorized import VectorizedStep
from benchmark.models.cnn import SmallCNN
from benchmark.models.dropout import layer_key
from benchmark.utils.errors import UserError
from tests.engine.test_engines import DATA, lane, some_lane
from tests.support.toys import tiny_client

LANES = [some_lane(n=n, batch_size=3, seed=n) for n in (2, 9, 4, 7, 1, 8, 5)]


def updates(engine: CudaEngine | ReferenceEngine, client: ClientModule, lanes: list[Lane]):
    engine.setup(client, DATA)
    return engine.train(client.flat(), Plan(0, lanes)).updates


def small_client() -> ClientModule:
    torch.manual_seed(0)
    return ClientModule(SmallCNN(), lr=0.1)


@given(n=st.integers(1, 100_000))
def test_rounding_wastes_an_eighth_at_most_and_stays_as_it_is(n: int) -> None:
    assert n <= rounded(n) <= n * 9 / 8
    assert rounded(rounded(n)) == rounded(n)


@given(lanes=st.lists(lane(), min_size=1, max_size=8), limit=st.integers(1, 9))
def test_chunks_hold_every_lane_once_and_whole(lanes: list[Lane], limit: int) -> None:
    waiting = list(range(len(lanes)))
    while waiting:
        chunk = next_chunk(lanes, waiting, limit, dropouts=2, rate=0.1)
        assert 1 <= len(chunk.positions) <= limit
        waiting = [i for i in waiting if i not in chunk.positions]
        widest = {rounded(max(one.sizes)) for one in chunk.lanes}
        assert len(widest) == 1
        # What is left could not have joined.
        if len(chunk.positions) < limit:
            assert not any(rounded(max(lanes[i].sizes)) in widest for i in waiting)
        assert chunk.lanes == [lanes[i] for i in chunk.positions]
        for t in range(len(chunk.counts)):
            at_work = [one.num_steps > t for one in chunk.lanes]
            assert at_work == sorted(at_work, reverse=True)
            assert chunk.counts[t] == sum(at_work)
            assert chunk.widths[t] == max(s.sizes[t] for s in chunk.lanes if s.num_steps > t)
            for c, one in enumerate(chunk.lanes):
                size = one.sizes[t] if t < one.num_steps else 0
                assert chunk.sizes[t, c] == size
                if size:
                    assert torch.equal(chunk.indices[t, c, :size], one.indices[t, :size])
                    assert torch.equal(chunk.labels[t, c, :size], one.labels[t, :size])
                    keys = [layer_key(one.dropout_seed, t, layer) for layer in range(2)]
                    assert chunk.keys[t, c].tolist() == keys
    assert not waiting


class PerInk(nn.Module):
    """Infinite on a blank image."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(28 * 28, 10)

    def forward(self, images: Tensor) -> Tensor:
        ink = (1 - images).flatten(1)
        return self.dense(ink) / ink.sum(1, keepdim=True)


def test_a_batch_is_not_filled_up_with_a_strangers_example() -> None:
    """Which may be one that the model makes infinite."""
    images = DATA.images.clone()
    images[0] = 255
    data = replace(DATA, images=images)
    lanes = []
    for one in LANES:
        real = torch.arange(one.indices.shape[1]) < torch.tensor(one.sizes)[:, None]
        lanes.append(replace(one, indices=torch.where(real, one.indices.clamp(min=1), 0)))
    found = []
    for engine in (CudaEngine(), ReferenceEngine()):
        torch.manual_seed(0)
        client = ClientModule(PerInk().double(), lr=0.1)
        engine.setup(client, data)
        found.append(engine.train(client.flat(), Plan(0, lanes)).updates)
    assert found[1].isfinite().all()
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-13)


def test_a_wide_lane_does_not_widen_the_others() -> None:
    wide = some_lane(n=40, batch_size=40)
    chunk = next_chunk([*LANES, wide], list(range(8)), limit=8, dropouts=0, rate=0.1)
    assert chunk.positions == [7]
    chunk = next_chunk([*LANES, wide], list(range(7)), limit=8, dropouts=0, rate=0.1)
    assert chunk.indices.shape[2] == 3


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
)
def test_a_convolution_as_a_matrix_product(kernel, stride, padding, dilation, bias: bool) -> None:
    convolution = nn.Conv2d(2, 3, kernel, stride, padding, dilation, bias=bias).double()
    images = torch.rand(2, 2, 9, 11, dtype=torch.float64)
    expected = convolution(images)
    found = MatmulConv2d(convolution)(images)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["grouped", "matmul"])
def test_the_same_chunks_give_the_same_bits(form) -> None:
    client = small_client()
    first = updates(CudaEngine(lanes=3, convolution=form), client, LANES)
    assert torch.equal(updates(CudaEngine(lanes=3, convolution=form), client, LANES), first)


@pytest.mark.parametrize("form", ["grouped", "matmul"])
def test_one_step_in_float32_is_the_references(form) -> None:
    client, lanes = small_client(), [some_lane(n=20, batch_size=20, seed=s) for s in range(3)]
    expected = updates(ReferenceEngine(), client, lanes)
    found = updates(CudaEngine(convolution=form), client, lanes)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_bf16_computes_coarsely_on_weights_in_full_precision() -> None:
    client = small_client()
    expected = updates(ReferenceEngine(), client, LANES)
    found = updates(CudaEngine("bf16", convolution="matmul"), client, LANES)
    assert found.dtype == torch.float32
    assert 1e-4 * expected.norm() < (found - expected).norm() < 0.25 * expected.norm()
    # Weights in bfloat16 would lose steps this small.
    client.lr = 1e-5
    assert updates(CudaEngine("bf16", convolution="matmul"), client, LANES).norm() > 0


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    run = VectorizedStep.run

    def limited(self: VectorizedStep, lanes: int, width: int) -> None:
        if lanes > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        run(self, lanes, width)

    monkeypatch.setattr(VectorizedStep, "run", limited)


def test_out_of_memory_goes_on_in_smaller_chunks_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = tiny_client(0.3)
    expected = updates(ReferenceEngine(), client, LANES)
    run_out_of_memory(monkeypatch, most=2)
    engine = CudaEngine(lanes=7, convolution="grouped")
    found = updates(engine, client, LANES)
    assert (found - expected).norm() <= 1e-10 * expected.norm()
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [
        "engine cuda: out of memory with 5 lanes at once; now 3",
        "engine cuda: out of memory with 3 lanes at once; now 2",
    ]
    assert engine.state()["lanes"] == 2


def test_no_memory_for_a_vectorized_step_of_one_client_leaves_single_lanes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = tiny_client(0.3)
    run_out_of_memory(monkeypatch, most=0)
    engine = CudaEngine(lanes=2, convolution="grouped")
    found = updates(engine, client, LANES)
    assert torch.equal(found, updates(ReferenceEngine(), client, LANES))
    assert "out of memory with 1 lanes at once; now 0" in caplog.text
    assert engine.state()["lanes"] == 0
    assert engine.kind == "one lane at a time, on streams"
    again = CudaEngine(lanes=2, convolution="grouped")
    again.setup(client, DATA)
    again.restore(engine.state())
    assert torch.equal(again.train(client.flat(), Plan(0, LANES)).updates, found)


def test_what_is_left_open_is_measured_and_then_kept(fresh_choices: None, monkeypatch) -> None:
    client = small_client()
    engine = CudaEngine()
    first = updates(engine, client, LANES)
    chosen = engine.state()
    assert chosen["convolution"] in ("grouped", "matmul")
    assert chosen["convolution"] in engine.kind
    monkeypatch.setattr(cuda, "fastest", lambda works: pytest.fail("measured again"))
    again = CudaEngine()
    assert torch.equal(updates(again, client, LANES), first)
    assert again.state() == chosen


def test_a_restored_engine_goes_on_as_the_first(fresh_choices: None) -> None:
    client = small_client()
    engine = CudaEngine()
    for form in ("grouped", "matmul"):
        engine.setup(client, DATA)
        engine.restore({"device": "cpu", "convolution": form, "lanes": 2})
        found = engine.train(client.flat(), Plan(0, LANES)).updates
        assert torch.equal(found, updates(CudaEngine(lanes=2, convolution=form), client, LANES))


@pytest.mark.parametrize(
    "state",
    [{"device": "cuda", "convolution": "matmul", "lanes": 1800}, {"device": "cpu", "kind": "x"}],
)
def test_another_engines_state_is_refused(state) -> None:
    engine = CudaEngine()
    engine.setup(small_client(), DATA)
    with pytest.raises(UserError, match=f"trained with device {state['device']}, .*other bits"):
        engine.restore(state)


def test_the_common_width_decides_and_not_an_adversarys_full_batch(fresh_choices: None) -> None:
    wide = some_lane(n=40, batch_size=40)
    lanes = [some_lane(n=20, batch_size=20, seed=s) for s in range(3)]
    assert most_common([wide, *lanes]) == (3, 20)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"precision": "fp8"}, "precision must be one of strict, tf32, bf16; got fp8"),
        ({"convolution": "fft"}, "convolution must be one of grouped, matmul; got fft"),
        ({"lanes": -1}, "lanes must be at least 0, got -1"),
        ({"lanes": 0, "precision": "bf16"}, "lanes=0 trains in the precision of the weights"),
    ],
)
def test_bad_values_are_refused(arguments, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        CudaEngine(**arguments)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_gpu
@pytest.mark.parametrize("engine", [("grouped", 3), ("matmul", 3), (None, 0)])
def test_on_a_gpu_graphs_and_streams_train_as_the_reference_does(engine) -> None:
    client = small_client().double().cuda()
    data = DATA.to("cuda")
    plan = Plan(0, [*LANES, some_lane(n=40, batch_size=40)])
    found: list[Tensor] = []
    form, limit = engine
    for engine in (ReferenceEngine(), CudaEngine(convolution=form, lanes=limit)):
        engine.setup(client, data)
        found += [engine.train(client.flat(), plan).updates for _ in range(2)]
    assert torch.equal(found[2], found[3])
    assert (found[2] - found[0]).norm() <= 1e-10 * found[0].norm()


@needs_gpu
def test_on_a_gpu_tf32_is_coarser_and_memory_is_planned(fresh_choices: None) -> None:
    torch.manual_seed(0)
    client, data = ClientModule(SmallCNN(), lr=0.1).cuda(), DATA.to("cuda")
    plan = Plan(0, [replace(one, dropout_seed=1) for one in LANES])
    found = {}
    for precision in ("strict", "tf32"):
        engine = CudaEngine(precision)
        engine.setup(client, data)
        found[precision] = engine.train(client.flat(), plan).updates
        assert engine.state()["lanes"] > 100
    assert not torch.equal(found["strict"], found["tf32"])
    assert torch.allclose(found["strict"], found["tf32"], rtol=0.05, atol=1e-3)
