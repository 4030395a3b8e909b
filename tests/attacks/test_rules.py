"""What backdoor training does beside its steps: by hand, and the same in every engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, cross_entropy

from benchmark.attacks.penalties import Anchored, Anomaly, Proximal, anomaly_gradient
from benchmark.attacks.rules import (
    Ball,
    BoostedSteps,
    InTurn,
    Momentum,
    Snapshots,
    Unfrozen,
    length,
)
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import Examples, Lane, Plan, batches
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.rules import LocalLoss, LocalRule, Order
from benchmark.models.cnn import SmallCNN
from benchmark.testing.toys import make_split, seeded
from tests.support.toys import tiny_client

DATA = make_split([60], seeded(3))
ENGINES = {
    "compiled": CpuEngine(workers=2),
    "autograd": CpuEngine(workers=1, compiled=False),
    "vectorized": CudaEngine(convolution="matmul", lanes=2),
}


def lane(n: int, epochs: int = 2, batch: int = 4, seed: int = 0) -> Lane:
    """Epochs of n images, each with a border of its own."""
    examples = Examples(torch.arange(n), DATA.labels[:n])
    parts = [batches(examples, 1, batch, seeded(seed + e)).ending_epoch() for e in range(epochs)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.then(part)
    return replace(whole, dropout_seed=seed)


def small_client() -> ClientModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ClientModule(SmallCNN(), 0.1).double()


def drawn(P: int, seed: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(P, generator=seeded(seed), dtype=torch.float64) / 20


def masked(P: int) -> Callable[[], Tensor]:
    return lambda: torch.rand(P, generator=seeded(5)) > 0.3


def rates(lane: Lane) -> tuple[float, ...]:
    return tuple(0.02 * (1 + step % 3) for step in range(lane.num_steps))


def every_rule(own: Sequence[float], P: int) -> dict[str, LocalRule]:
    marked = [step % 2 == 1 for step in range(len(own))]
    return {
        "momentum": Momentum(own, 0.9, 5e-4),
        "l2": Anchored(own, 0.7, "l2"),
        "l2_squared": Anchored(own, 0.7, "l2_squared"),
        "cosine": Anchored(own, 0.7, "cosine", boost=3.0),
        "proximal": Proximal(own, 0.5, drawn(P, 1), marked, masked(P)),
        "boosted": BoostedSteps(3.0, marked, masked(P)),
        "unfrozen": Unfrozen(masked(P)),
        "ball": Ball(0.05, "l2", every=3),
        "box": Ball(0.01, "linf", center=drawn(P, 2)),
    }


NAMES = [*every_rule([0.1], 1), "all"]


def ruled(name: str, P: int) -> list[Lane]:
    """Three lanes of unlike lengths by a rule, and one by none."""
    plans = []
    for n, seed in ((9, 0), (5, 1), (13, 2)):
        made = lane(n, epochs=2, seed=seed)
        own = rates(made) if n != 5 else None
        rules = every_rule(own or (0.1,) * made.num_steps, P)
        rule = InTurn(list(rules.values())) if name == "all" else rules[name]
        plans.append(replace(made, rates=own, rule=rule))
    return [*plans, lane(7, seed=3)]


@cache
def by_reference(name: str) -> Tensor:
    engine, client = ReferenceEngine(), small_client()
    engine.setup(client, DATA)
    return engine.train(client.flat(), Plan(0, ruled(name, client.num_parameters))).updates


@cache
def without_rule(engine: str) -> Tensor:
    """The same lanes, whatever their rule would be."""
    client = small_client()
    ENGINES[engine].setup(client, DATA)
    plain = [replace(each, rule=LocalRule()) for each in ruled("l2", client.num_parameters)]
    return ENGINES[engine].train(client.flat(), Plan(0, plain)).updates


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_follows_a_rule_as_the_reference_does(engine: str, name: str):
    plain, expected, client = without_rule(engine), by_reference(name), small_client()
    ENGINES[engine].setup(client, DATA)
    plans = ruled(name, client.num_parameters)
    found = ENGINES[engine].train(client.flat(), Plan(0, plans)).updates
    assert (expected.norm(dim=1) > 0).all()
    assert ((found - expected).norm(dim=1) <= 1e-10 * expected.norm(dim=1)).all()
    apart = (found - plain).norm(dim=1)
    assert (apart[:3] > 1e-6).all()
    assert apart[3] == 0


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_takes_each_step_at_its_own_rate(engine: Engine):
    """Without a rule that would have it stop after every step."""
    client = small_client()
    plans = [replace(lane(9), rates=rates(lane(9))), lane(7, seed=3)]
    expected = torch.stack([by_hand(client, each) for each in plans])
    engine.setup(client, DATA)
    found = engine.train(client.flat(), Plan(0, plans)).updates
    assert ((found - expected).norm(dim=1) <= 1e-10 * expected.norm(dim=1)).all()


@dataclass(frozen=True)
class Features(LocalLoss):
    """Cross-entropy and the square of what the output layer is given."""

    def __call__(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels) + 0.1 * features.square().mean()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_lane_with_a_loss_of_its_own_is_trained_by_every_engine(engine: Engine):
    client = small_client()
    own = replace(lane(9), loss=Features(), rates=rates(lane(9)))
    plan = Plan(0, [lane(5), own, lane(7, seed=3)])
    theta = client.flat()
    expected = torch.stack([by_hand(client, each) for each in plan.lanes])
    for each in (ReferenceEngine(), engine):
        each.setup(client, DATA)
        found = each.train(theta, plan).updates
        assert ((found - expected).norm(dim=1) <= 1e-10 * expected.norm(dim=1)).all()


def by_hand(client: ClientModule, lane: Lane) -> Tensor:
    theta = client.flat()
    model = client.model.train()
    for step, size in enumerate(lane.sizes):
        images = DATA.pixels(lane.indices[step, :size], torch.float64)
        labels = lane.labels[step, :size]
        theta.requires_grad_()
        weights = client.split(theta)
        assert isinstance(model, SmallCNN)
        *body, head = model.layers
        hidden = images
        with torch.enable_grad():
            names = {id(m): n for n, m in model.named_modules()}
            for module in body:
                own = {
                    key: weights[f"{names[id(module)]}.{key}"]
                    for key, _ in module.named_parameters()
                }
                hidden = functional_call(module, own, (hidden,)) if own else module(hidden)
            output = {key: weights[f"{names[id(head)]}.{key}"] for key in ("weight", "bias")}
            logits = functional_call(head, output, (hidden,))
            loss = cross_entropy(logits, labels)
            if lane.loss:
                loss = loss + 0.1 * hidden.square().mean()
        (gradient,) = torch.autograd.grad(loss, theta)
        rate = lane.rates[step] if lane.rates else client.lr
        theta = theta.detach() - rate * gradient
    return theta - client.flat()


def test_momentum_and_decay_are_torchs():
    client = tiny_client()
    own = replace(lane(9, epochs=3), rates=(0.05,) * 9)
    optimizer = torch.optim.SGD(client.model.parameters(), 0.05, momentum=0.9, weight_decay=5e-3)
    start = client.flat()
    engine = ReferenceEngine()
    engine.setup(client, DATA)
    rule = Momentum((0.05,) * 9, 0.9, 5e-3)
    found = engine.train(start, Plan(0, [replace(own, rule=rule)])).updates[0]
    for step, size in enumerate(own.sizes):
        optimizer.zero_grad()
        images = DATA.pixels(own.indices[step, :size], torch.float64)
        cross_entropy(client.model(images), own.labels[step, :size]).backward()
        optimizer.step()
    expected = client.flat() - start
    assert (found - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("anomaly", ["l2", "l2_squared", "cosine"])
def test_the_gradient_of_an_anomaly_is_autograds(anomaly: Anomaly):
    start, d = torch.randn(2, 7, generator=seeded(), dtype=torch.float64)
    moved = (start + d).requires_grad_()
    values = {
        "l2": (moved - start).norm(),
        "l2_squared": (moved - start).square().sum(),
        "cosine": 1 - cosine_similarity(start + 2.5 * (moved - start), start, dim=0),
    }
    (expected,) = torch.autograd.grad(values[anomaly], moved)
    assert torch.allclose(anomaly_gradient(d, start, anomaly, 2.5), expected, rtol=1e-12)


def test_there_is_no_anomaly_where_nothing_moved():
    assert anomaly_gradient(torch.zeros(3), torch.ones(3), "l2").tolist() == [0, 0, 0]
    assert anomaly_gradient(torch.ones(3), torch.zeros(3), "cosine").tolist() == [0, 0, 0]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def stepped(rule: LocalRule, theta: Tensor, before: Tensor, start: Tensor) -> list[float]:
    state = rule.begin(start, Order())
    return rule.after_step(theta.clone(), before, start, state).tolist()


def test_an_anchored_step_by_hand():
    # rate 0.1, gradient (1, 0); d = (3, 4): 0.5 · (1, 0) + 0.5 · (0.6, 0.8)
    before = double(3, 4)
    anchored = Anchored((0.1,), 0.5, "l2")
    moved = stepped(anchored, before - 0.1 * double(1, 0), before, double(0, 0))
    assert moved == pytest.approx([3 - 0.1 * 0.8, 4 - 0.1 * 0.4], rel=1e-12)


def test_a_proximal_step_by_hand():
    # ρ (w − c) = 2 · (3 − 1, 4 − 0), where the term is; the second weight has none
    rule = Proximal((0.1,), 2.0, lambda: double(1, 0), among=lambda: double(1, 0))
    assert stepped(rule, double(3, 4), double(3, 4), double(9, 9)) == pytest.approx([2.6, 4.0])


def test_steps_that_are_boosted_by_hand():
    rule = BoostedSteps(10.0, [True], lambda: double(1, 0))
    assert stepped(rule, double(1.5, 1.5), double(1, 1), double(0, 0)) == [6.0, 1.5]


@pytest.mark.parametrize(
    ("ball", "moved"),
    [(Ball(1.0), (0.6, 0.8)), (Ball(6.0), (3.0, 4.0)), (Ball(0.5, "linf"), (0.5, 0.5))],
)
def test_a_ball_by_hand(ball: Ball, moved: tuple[float, float]):
    start = double(1, -1)
    found = stepped(ball, start + double(3, 4), start, start)
    assert found == pytest.approx([1 + moved[0], -1 + moved[1]], rel=1e-12)


def test_a_box_by_hand():
    found = stepped(Ball(0.5, "linf"), double(3, -0.2), double(0, 0), double(0, 0))
    assert found == pytest.approx([0.5, -0.2])


def test_a_ball_counts_the_steps_of_an_epoch_and_ends_with_a_projection():
    rule, start = Ball(1.0, every=2), double(0, 0)
    state = rule.begin(start, Order())
    far = double(3, 4)
    # An odd number, so that the next step would not be due if the epoch had not ended.
    short = [rule.after_step(far.clone(), start, start, state).norm() < 2 for _ in range(3)]
    assert short == [True, False, True]
    assert rule.after_epoch(far.clone(), start, state).tolist() == pytest.approx([0.6, 0.8])
    assert rule.after_step(far.clone(), start, start, state).norm() < 2


@pytest.mark.parametrize("mask", [(1, 0, 0), (1, 1, 0), (0, 0, 0), (1, 1, 1)])
def test_what_is_frozen_stays_to_the_bit(mask: tuple[int, ...]):
    """Whether few weights move or most."""
    rule, start = Unfrozen(lambda: torch.tensor(mask) > 0), double(0.1, 0.3, 0.7)
    found = stepped(rule, double(5, 6, 7), double(1, 1, 1), start)
    pairs = zip(mask, (5.0, 6.0, 7.0), start.tolist(), strict=True)
    assert found == [moved if free else still for free, moved, still in pairs]


@pytest.mark.parametrize("P", [1, 70_000, 1_200_000])
def test_a_length_is_as_exact_as_in_float64(P: int):
    vector = torch.randn(P, generator=seeded())
    assert length(vector) == pytest.approx(vector.double().norm().item(), rel=1e-6)


def test_snapshots_are_of_every_epoch_in_the_order_of_a_flat_vector():
    client = small_client()
    for engine in (ReferenceEngine(), CpuEngine(workers=1)):
        engine.setup(client, DATA)
        snapshots = Snapshots()
        one = replace(lane(9, epochs=3), rule=snapshots)
        update = engine.train(client.flat(), Plan(0, [one])).updates[0]
        assert len(snapshots.taken) == 3
        assert torch.equal(snapshots.taken[-1] - client.flat(), update)
        first = engine.train(client.flat(), Plan(0, [lane(9, epochs=1)])).updates[0]
        assert torch.allclose(snapshots.taken[0] - client.flat(), first, rtol=1e-10)


def test_two_lanes_in_a_row_both_have_rates_or_none_has():
    with pytest.raises(ValueError, match="both or none"):
        replace(lane(5), rates=(0.1,) * 4).then(lane(5))
