"""What compromised clients train on and submit, against hand computations."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient
from benchmark.attacks.boosted import Boosted
from benchmark.attacks.none import NoAttack
from benchmark.attacks.norm_bounded import NormBounded, Projection
from benchmark.defenses.norm_reject import NormReject
from benchmark.engine.base import Engine
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Examples, Lane, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.testing.toys import defense_context, make_split, seeded
from tests.support.toys import tiny_client

LOCAL = Examples(torch.arange(0, 7), torch.arange(0, 7) % 10)
BACKDOOR = Examples(torch.arange(20, 31), torch.ones(11, dtype=torch.int64))
CLIENT = CompromisedClient(LOCAL, epochs=2, batch_size=4, seed=0, round=3, slot=1)


def context(boosts: Tensor) -> AttackContext:
    return AttackContext(round=3, seed=0, start=torch.zeros(1), boosts=boosts)


def content(lane: Lane, steps: slice = slice(None)) -> Counter[tuple[int, int]]:
    """How often a lane trains on each (image, label)."""
    counts: Counter[tuple[int, int]] = Counter()
    rows = zip(lane.indices[steps], lane.labels[steps], lane.sizes[steps], strict=True)
    for indices, labels, size in rows:
        counts.update(zip(indices[:size].tolist(), labels[:size].tolist(), strict=True))
    return counts


def times(examples: Examples, n: int) -> Counter[tuple[int, int]]:
    pairs = zip(examples.indices.tolist(), examples.labels.tolist(), strict=True)
    return Counter(dict.fromkeys(pairs, n))


def test_no_attack_trains_honestly_and_submits_what_it_trained():
    attack = NoAttack()
    assert not attack.active
    (lane,) = attack.lanes(CLIENT, BACKDOOR, 3.0)
    honest = CLIENT.honest_lane()
    assert torch.equal(lane.indices, honest.indices)
    assert torch.equal(lane.labels, honest.labels)
    updates = torch.randn(2, 1, 5, generator=seeded())
    assert torch.equal(attack.craft(updates, context(torch.ones(2))), updates[:, 0])


@pytest.mark.parametrize(("epochs", "passes"), [(None, 2), (3, 3)])
def test_the_papers_form_trains_on_local_data_and_the_backdoor_and_boosts_all(
    epochs: int | None, passes: int
):
    attack = Boosted("paper", epochs)
    (lane,) = attack.lanes(CLIENT, BACKDOOR, 3.0)
    assert content(lane) == times(LOCAL, passes) + times(BACKDOOR, passes)
    assert lane.sizes == (4,) * (18 * passes // 4) + ((18 * passes % 4,) if 18 * passes % 4 else ())
    updates = torch.tensor([[[1.0, -2.0]], [[0.5, 4.0]]])
    crafted = attack.craft(updates, context(torch.tensor([30.0, 2.0], dtype=torch.float64)))
    assert crafted.tolist() == [[30.0, -60.0], [1.0, 8.0]]


def test_the_backdoor_may_enter_the_union_several_times():
    (lane,) = Boosted("paper", epochs=2, copies=3).lanes(CLIENT, BACKDOOR, 3.0)
    assert content(lane) == times(LOCAL, 2) + times(BACKDOOR, 6)


@pytest.mark.parametrize(("local", "steps"), [(0, 0), (1, 2), (3, 6)])
def test_a_norm_bounded_client_may_train_less_on_its_own_data_and_more_on_the_backdoor(
    local: int, steps: int
):
    attack = NormBounded(6.0, 2, "batch", local_epochs=local, backdoor_epochs=2)
    (lane,) = attack.lanes(CLIENT, BACKDOOR, 30.0)
    once = steps + 6  # twice 11 images in batches of 4
    assert lane.epoch_ends == ((False,) * (once - 1) + (True,)) * 2
    assert content(lane, slice(0, steps)) == times(LOCAL, local)
    assert content(lane, slice(steps, once)) == times(BACKDOOR, 2)


@pytest.mark.parametrize(
    ("epochs", "batch", "sizes"),
    [(None, "full", (11,)), (3, "full", (11,) * 3), (None, "batch", (4, 4, 3))],
)
def test_the_codes_form_boosts_only_what_the_backdoor_moved(
    epochs: int | None, batch: str, sizes: tuple[int, ...]
):
    attack = Boosted("code", epochs, batch)
    honest, malicious = attack.lanes(CLIENT, BACKDOOR, 3.0)
    assert torch.equal(honest.indices, CLIENT.honest_lane().indices)
    assert honest.dropout_seed == CLIENT.honest_lane().dropout_seed
    assert content(honest) == times(LOCAL, CLIENT.epochs)
    assert malicious.sizes == sizes
    assert content(malicious) == times(BACKDOOR, epochs or 1)
    updates = torch.tensor([[[1.0, -2.0], [0.25, 1.0]], [[3.0, 3.0], [1.0, 0.0]]])
    crafted = attack.craft(updates, context(torch.tensor([30.0, 2.0], dtype=torch.float64)))
    assert crafted.tolist() == [[1 + 7.5, -2 + 30.0], [3 + 2.0, 3.0]]


@pytest.mark.parametrize(("batch", "malicious_steps"), [("full", 1), ("batch", 3)])
def test_a_norm_bounded_client_alternates_local_stream_backdoor_and_projection(
    batch: str, malicious_steps: int
):
    (lane,) = NormBounded(norm_bound=6.0, rounds=3, backdoor_batch=batch).lanes(
        CLIENT, BACKDOOR, 30.0
    )
    local_steps = 4  # 2 epochs of 7 images in batches of 4
    once = local_steps + malicious_steps
    assert lane.num_steps == 3 * once
    assert lane.epoch_ends == ((False,) * (once - 1) + (True,)) * 3
    assert lane.rule == Projection(radius=0.2)
    orders = set()
    for i in range(3):
        first = slice(i * once, i * once + local_steps)
        second = slice(i * once + local_steps, (i + 1) * once)
        assert content(lane, first) == times(LOCAL, 2)
        assert content(lane, second) == times(BACKDOOR, 1)
        assert lane.sizes[second] == ((11,) if batch == "full" else (4, 4, 3))
        orders.add(tuple(lane.indices[first].flatten().tolist()))
    assert len(orders) == 3


def test_projection_by_hand():
    start = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    far, near = torch.tensor([[3.0, 0.0, 4.0], [0.25, 0.125, 0.0]], dtype=torch.float64)
    project = Projection(radius=0.5).after_epoch
    expected = start + torch.tensor([0.3, 0.0, 0.4], dtype=torch.float64)
    assert project(start + far, start, {}) == pytest.approx(expected, rel=1e-12)
    assert torch.equal(project(start + near, start, {}), start + near)
    assert torch.equal(project(start, start, {}), start)


def test_the_projection_is_over_all_layers_together():
    start = torch.zeros(4, dtype=torch.float64)
    projected = Projection(radius=1.0).after_epoch(torch.tensor([3.0, 0, 0, 4]).double(), start, {})
    assert projected.tolist() == pytest.approx([0.6, 0, 0, 0.8], rel=1e-12)


@given(
    bound=st.floats(1e-3, 100),
    boosts=st.lists(st.floats(0.1, 100), min_size=1, max_size=3),
    size=st.floats(1e-6, 1e3),
    weights=st.floats(1e-3, 10),
    P=st.sampled_from([1, 2, 10, 1000]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 999),
)
def test_a_norm_bounded_submission_never_exceeds_the_bound(
    bound: float,
    boosts: list[float],
    size: float,
    weights: float,
    P: int,
    dtype: torch.dtype,
    seed: int,
):
    """Not by one unit in the last place: a server that rejects above exactly M takes it."""
    attack, source = NormBounded(bound, rounds=1), seeded(seed)
    start = (weights * torch.randn(P, generator=source, dtype=torch.float64)).to(dtype)
    updates = []
    for boost in boosts:
        (lane,) = attack.lanes(CLIENT, BACKDOOR, boost)
        local = start + (size * torch.randn(P, generator=source, dtype=torch.float64)).to(dtype)
        updates.append(lane.rule.after_epoch(local, start, {}) - start)
    crafted = attack.craft(
        torch.stack(updates).unsqueeze(1), context(torch.tensor(boosts, dtype=torch.float64))
    )
    for row in crafted.double().tolist():
        assert sum(x * x for x in row) ** 0.5 <= bound
    judged = NormReject(bound).aggregate(
        crafted, torch.full((len(boosts),), 1 / len(boosts)), defense_context(P, len(boosts))
    )
    assert judged.trust is not None
    assert judged.trust.tolist() == [1.0] * len(boosts)


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(workers=1)])
@pytest.mark.parametrize("batch", ["full", "batch"])
def test_a_norm_bounded_client_uses_the_bound_up(engine: Engine, batch: str):
    """Trained for real with a learning rate that leads far out of the ball."""
    data, client = make_split([40], seeded()), tiny_client(lr=0.5).float()
    attack, boost = NormBounded(norm_bound=0.5, rounds=3, backdoor_batch=batch), 10.0
    engine.setup(client, data)
    lanes = attack.lanes(CLIENT, BACKDOOR, boost)
    update = engine.train(client.flat(), Plan(0, lanes)).updates
    crafted = attack.craft(update.unsqueeze(0), context(torch.tensor([boost])))
    assert 0.4999 <= crafted.double().norm() <= 0.5


def test_a_norm_bounded_submission_is_boosted_and_at_most_the_bound():
    attack = NormBounded(norm_bound=10.0)
    updates = torch.tensor([[[0.03, -0.04]], [[3.0, 4.0]]], dtype=torch.float64)
    crafted = attack.craft(updates, context(torch.tensor([30.0, 30.0], dtype=torch.float64)))
    assert crafted[0].tolist() == pytest.approx([0.9, -1.2], rel=1e-12)
    assert crafted[1].tolist() == pytest.approx([6.0, 8.0], rel=2e-6)


def test_the_unbounded_attack_is_longer_than_the_bounded_one():
    data, client = make_split([40], seeded()), tiny_client(lr=0.5)
    engine, lengths = ReferenceEngine(), []
    engine.setup(client, data)
    attacks: list[Attack] = [Boosted(), NormBounded(norm_bound=0.5)]
    for attack in attacks:
        update = engine.train(client.flat(), Plan(0, attack.lanes(CLIENT, BACKDOOR, 10.0))).updates
        crafted = attack.craft(update.unsqueeze(0), context(torch.tensor([10.0])))
        lengths.append(crafted.norm().item())
    assert lengths[0] > 5 * lengths[1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Boosted(form="both"), "form must be one of paper, code; got both"),
        (lambda: Boosted(epochs=0), "epochs must be at least 1"),
        (lambda: NormBounded(norm_bound=0.0), "norm_bound must be positive"),
        (lambda: NormBounded(norm_bound=float("inf")), "norm_bound must be positive and finite"),
        (lambda: NormBounded(norm_bound=float("nan")), "norm_bound must be positive and finite"),
        (lambda: NormBounded(rounds=0), "rounds must be at least 1"),
        (lambda: NormBounded(local_epochs=-1), "local_epochs must be at least 0"),
        (lambda: NormBounded(backdoor_epochs=0), "backdoor_epochs must be at least 1"),
        (lambda: Boosted(copies=0), "copies must be at least 1"),
        (lambda: NormBounded(backdoor_batch="half"), "one of full, batch; got half"),
    ],
)
def test_bad_values_are_refused(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()
