"""Every engine against a loop written by hand, in float64."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.attacks.norm_bounded import Projection
from benchmark.data.dataset import Split
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import Examples, Lane, LocalClient, Plan, batches
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.rules import LaneState, LocalRule
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.models.dropout import set_keys
from benchmark.testing.toys import make_split, seeded
from tests.support.toys import tiny_client

ENGINES = [
    ReferenceEngine(),
    CpuEngine(workers=1),
    CpuEngine(workers=2),
    CpuEngine(workers=1, compiled=False),
    CudaEngine(convolution="grouped"),
    CudaEngine(convolution="matmul", lanes=2),
]
NAMES = ["reference", "cpu-1", "cpu-2", "cpu-autograd", "cuda-grouped", "cuda-matmul-2"]
DATA = make_split([60], seeded(3))
TOLERANCE = 1e-10


def by_hand(client: ClientModule, lane: Lane, data: Split = DATA) -> tuple[Tensor, float]:
    """Deep copy, a list of batches, torch's SGD: one client's update and mean loss."""
    client = copy.deepcopy(client).train()
    parameters = list(client.model.parameters())
    before = [p.detach().clone() for p in parameters]
    start = torch.cat([p.flatten() for p in before])
    optimizer = torch.optim.SGD(parameters, lr=client.lr)
    losses = []
    for step, size in enumerate(lane.sizes):
        pixels = data.images[lane.indices[step][:size]].double().div(255)
        set_keys(client.dropouts, lane.dropout_seed, step)
        loss = nn.functional.cross_entropy(client.model(pixels), lane.labels[step][:size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if lane.epoch_ends[step] and isinstance(lane.rule, Projection):
            moved = torch.cat([p.detach().flatten() for p in parameters]) - start
            shrink = min(1.0, lane.rule.radius / moved.norm().item())
            with torch.no_grad():
                for p, p0 in zip(parameters, before, strict=True):
                    p.copy_(p0 + (p - p0) * shrink)
    after = torch.cat([p.detach().flatten() for p in parameters])
    return after - start, sum(losses) / len(losses)


def assert_engine_is_right(
    engine: Engine, client: ClientModule, lanes: list[Lane], data: Split = DATA
) -> None:
    theta = client.flat()
    untouched = theta.clone()
    engine.setup(client, data)
    trained = engine.train(theta, Plan(0, lanes))
    assert trained.updates.dtype == torch.float64
    assert torch.equal(theta, untouched)
    for lane, update, loss in zip(lanes, trained.updates, trained.losses, strict=True):
        expected, expected_loss = by_hand(client, lane, data)
        assert expected.norm() > 0
        assert (update - expected).norm() <= TOLERANCE * expected.norm()
        assert loss.item() == pytest.approx(expected_loss, rel=TOLERANCE)


@st.composite
def lane(draw: st.DrawFn) -> Lane:
    """A client of 1 to 13 images: ragged, short batches, other labels, a second part, a rule."""

    def part() -> Lane:
        n = draw(st.integers(1, 13))
        indices = torch.randperm(60, generator=seeded(draw(st.integers(0, 99))))[:n]
        labels = DATA.labels[indices]
        if draw(st.booleans()):
            labels = (labels + draw(st.integers(1, 9))) % 10
        shuffle = seeded(draw(st.integers(0, 99)))
        examples = Examples(indices, labels)
        return batches(examples, draw(st.integers(1, 3)), draw(st.integers(1, 7)), shuffle)

    made = replace(part(), dropout_seed=draw(st.integers(0, 2**63 - 1)))
    if draw(st.booleans()):
        made = made.ending_epoch()
    if draw(st.booleans()):
        made = made.then(part().ending_epoch())
    if draw(st.booleans()):
        made = replace(made, rule=Projection(draw(st.floats(0.01, 0.5))))
    return made


@pytest.mark.parametrize("engine", ENGINES, ids=NAMES)
@given(lanes=st.lists(lane(), min_size=1, max_size=4), dropout=st.sampled_from([0.0, 0.4]))
@settings(max_examples=40)
def test_an_engine_trains_a_cohort_as_a_hand_written_loop_does(
    engine: Engine, lanes: list[Lane], dropout: float
):
    assert_engine_is_right(engine, tiny_client(dropout), lanes)


@pytest.mark.parametrize("engine", ENGINES, ids=NAMES)
@pytest.mark.parametrize("model", [SmallCNN, PaperCNN])
def test_an_engine_trains_the_real_models(engine: Engine, model: type[nn.Module]):
    torch.manual_seed(0)
    client = ClientModule(model(), lr=0.05).double()
    lanes = [some_lane(n=n, batch_size=2, seed=n) for n in (3, 1)]
    assert_engine_is_right(engine, client, lanes)


def some_lane(n: int, epochs: int = 1, batch_size: int = 4, seed: int = 0) -> Lane:
    indices = torch.arange(n)
    lane = batches(Examples(indices, DATA.labels[indices]), epochs, batch_size, seeded(seed))
    return replace(lane, dropout_seed=seed)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_cpu_engines_bits_depend_neither_on_workers_nor_on_threads(
    threads: int, compiled: bool
):
    torch.manual_seed(0)
    client = ClientModule(SmallCNN(), lr=0.1)
    plan = Plan(0, [some_lane(n=40, batch_size=20, seed=s) for s in range(3)])

    def trained(workers: int) -> Tensor:
        engine = CpuEngine(workers, compiled)
        engine.setup(client, DATA)
        return engine.train(client.flat(), plan).updates

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = trained(workers=1)
        torch.set_num_threads(threads)
        for workers in (1, 2, 5):
            assert torch.equal(trained(workers), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", ENGINES, ids=NAMES)
def test_an_engine_carries_nothing_from_one_round_to_the_next(engine: Engine):
    client = tiny_client(0.4)
    engine.setup(client, DATA)
    plans = [Plan(0, [some_lane(5, seed=s), some_lane(9, seed=s)]) for s in range(2)]
    first = engine.train(client.flat(), plans[0]).updates
    kept = first.clone()
    engine.train(client.flat() + 1, plans[1])
    assert torch.equal(first, kept)
    assert torch.equal(engine.train(client.flat(), plans[0]).updates, kept)


@dataclass(frozen=True)
class Tracer(LocalRule):
    """Notes when it is called; moves the weights so that a dropped result shows."""

    calls: list[str]

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        self.calls.append("step")
        return theta + 1

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        self.calls.append("epoch")
        return start + 3


@pytest.mark.parametrize("engine", ENGINES, ids=NAMES)
def test_a_rule_follows_every_step_and_every_marked_step(engine: Engine):
    client, calls = tiny_client(), []
    traced = replace(some_lane(6, batch_size=2), rule=Tracer(calls), epoch_ends=(True, False, True))
    engine.setup(client, DATA)
    update = engine.train(client.flat(), Plan(0, [traced])).updates[0]
    assert calls == ["step", "epoch", "step", "step", "epoch"]
    assert update == pytest.approx(torch.full_like(update, 3.0))


def test_every_epoch_is_a_permutation_and_batches_run_across_epoch_borders():
    examples = Examples(torch.tensor([5, 6, 7, 8, 9]), torch.tensor([0, 1, 2, 3, 4]))
    lane = batches(examples, epochs=3, batch_size=4, generator=seeded())
    assert lane.sizes == (4, 4, 4, 3)
    assert lane.epoch_ends == (False,) * 4
    assert lane.indices.shape == lane.labels.shape == (4, 4)
    assert lane.indices[3, 3] == 0
    order = lane.indices.flatten()[:15].view(3, 5)
    assert (order.sort(dim=1).values == examples.indices).all()
    assert not torch.equal(order[0], order[1])
    assert torch.equal(lane.labels.flatten()[:15], lane.indices.flatten()[:15] - 5)


@given(n=st.integers(1, 20), epochs=st.integers(1, 4), batch_size=st.integers(1, 25))
def test_only_the_last_batch_is_short(n: int, epochs: int, batch_size: int):
    examples = Examples(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    lane = batches(examples, epochs, batch_size, seeded())
    assert lane.num_steps == -(-n * epochs // batch_size)
    assert sum(lane.sizes) == n * epochs
    assert set(lane.sizes[:-1]) <= {batch_size}
    assert 1 <= lane.sizes[-1] <= batch_size


def test_a_lane_goes_on_with_another_of_different_width():
    wide, narrow = some_lane(5, batch_size=5, seed=1), some_lane(3, batch_size=2, seed=2)
    for first, second in ((wide, narrow), (narrow, wide)):
        both = first.then(second.ending_epoch())
        assert both.sizes == first.sizes + second.sizes
        assert both.epoch_ends[-1]
        assert sum(both.epoch_ends) == 1
        assert both.dropout_seed == first.dropout_seed
        for step, size in enumerate(both.sizes):
            whose, at = (
                (first, step) if step < first.num_steps else (second, step - first.num_steps)
            )
            assert torch.equal(both.indices[step, :size], whose.indices[at, :size])
            assert torch.equal(both.labels[step, :size], whose.labels[at, :size])


def test_a_clients_draws_differ_by_place_round_purpose_and_seed():
    local = Examples(torch.arange(30), torch.zeros(30, dtype=torch.int64))
    client = LocalClient(local, epochs=1, batch_size=30, seed=0, round=0, slot=0)
    lanes = [
        client.honest_lane(),
        replace(client, slot=1).honest_lane(),
        replace(client, round=1).honest_lane(),
        replace(client, seed=1).honest_lane(),
        client.batches(local, 1, 30, "other"),
    ]
    assert len({tuple(lane.indices[0].tolist()) for lane in lanes}) == 5
    assert len({lane.dropout_seed for lane in lanes}) == 5
    assert torch.equal(client.honest_lane().indices, lanes[0].indices)


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        CpuEngine(workers=0)


def test_engines_train_on_data_beyond_the_users_own():
    stamped = Split(torch.cat([DATA.images, 255 - DATA.images[:1]]), DATA.labels, DATA.offsets)
    client = tiny_client()
    lane = batches(Examples(torch.tensor([60]), torch.tensor([1])), 1, 1, seeded())
    updates = []
    for engine in ENGINES:
        engine.setup(client, stamped)
        updates.append(engine.train(client.flat(), Plan(0, [lane])).updates[0])
    assert updates[0].norm() > 0
    for update in updates[1:]:
        assert update == pytest.approx(updates[0], rel=TOLERANCE, abs=1e-14)
