"""Attacks that train on poison, against hand computations and their papers' traps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.alternating_minimization import AlternatingMinimization
from benchmark.attacks.base import Attack, AttackContext, CompromisedClient
from benchmark.attacks.constrain_and_scale import ConstrainAndScale
from benchmark.attacks.data_poisoning import DataPoisoning
from benchmark.attacks.dba import DistributedBackdoor
from benchmark.attacks.f3ba import F3BA
from benchmark.attacks.layer_substitution import LayerSubstitution
from benchmark.attacks.model_replacement import ModelReplacement
from benchmark.attacks.neurotoxin import Neurotoxin, smallest
from benchmark.attacks.penalties import Anchored
from benchmark.attacks.pgd import PGD
from benchmark.attacks.poisoning import poisoned_batches, relabelled
from benchmark.attacks.rules import Ball, InTurn, Momentum
from benchmark.attacks.three_dfed import ThreeDFed
from benchmark.attacks.train_and_scale import TrainAndScale
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples
from benchmark.federation.participation import RandomSampling
from benchmark.testing.attack_toys import backdoor, bench, client, ready
from benchmark.testing.toys import seeded
from tests.support.toys import fit, make_federation

CLIENT = CompromisedClient(
    Examples(torch.arange(10), torch.zeros(10, dtype=torch.int64)), 2, 4, seed=0, round=3, slot=1
)
POISON = Examples(torch.arange(20, 23), torch.ones(3, dtype=torch.int64))


def context(*boosts: float, P: int = 2) -> AttackContext:
    return AttackContext(round=3, seed=0, start=torch.zeros(P), boosts=torch.tensor(boosts))


def crafted(attack: Attack, *rows: tuple[float, ...], boosts: tuple[float, ...] = (1.0,)) -> Tensor:
    updates = torch.tensor(rows, dtype=torch.float64).unsqueeze(1)
    return attack.craft(updates, context(*boosts))


@pytest.mark.parametrize(
    ("share", "counts"),
    # batches of 4, 4, 2: round(1.25) and round(0.625); half a place is a place; at least one
    [
        (0.3125, [1, 1, 1]),
        (0.375, [2, 2, 1]),
        (0.01, [1, 1, 1]),
        (1.0, [4, 4, 2]),
        (0.0, [0, 0, 0]),
    ],
)
def test_a_share_of_every_batch_is_poison(share: float, counts: list[int]):
    lane = poisoned_batches(CLIENT, POISON, share, "poison")
    assert lane.sizes == (4, 4, 2)
    rows = zip(lane.indices.tolist(), lane.labels.tolist(), lane.sizes, strict=True)
    for count, (indices, labels, size) in zip(counts, rows, strict=True):
        assert [i >= 20 for i in indices[:size]] == [True] * count + [False] * (size - count)
        assert labels[:size] == [1] * count + [0] * (size - count)


def test_poison_is_taken_in_turns():
    lane = poisoned_batches(CLIENT, POISON, 1.0, "poison", epochs=3)
    taken = torch.cat([row[:size] for row, size in zip(lane.indices, lane.sizes, strict=True)])
    assert torch.bincount(taken - 20).tolist() == [10, 10, 10]


def test_a_clients_own_images_are_poisoned_before_those_of_the_adversary():
    own = Examples(torch.arange(30, 33), torch.ones(3, dtype=torch.int64))
    for member, expected in (
        (replace(CLIENT, poisoned=(own,)), own),
        (replace(CLIENT, poisoned=(Examples(*torch.zeros(2, 0).long()),)), POISON),
        (CLIENT, POISON),
    ):
        (lane,) = DataPoisoning(poison_share=1.0).lanes(member, POISON, 3.0)
        assert {*lane.indices[0, :4].tolist()} <= {*expected.indices.tolist()}


def test_every_epoch_has_batches_of_its_own_and_ends():
    (lane,) = DataPoisoning(epochs=2).lanes(CLIENT, POISON, 3.0)
    assert lane.sizes == (4, 4, 2, 4, 4, 2)
    assert lane.epoch_ends == (False, False, True) * 2
    assert lane.rates is None


def test_an_attackers_rate_falls_after_a_fifth_and_after_four_fifths_of_its_epochs():
    attack = ModelReplacement(epochs=5, lr=0.05)
    (lane,) = attack.lanes(CLIENT, POISON, 3.0)
    expected = [0.05] * 3 + [0.005] * 9 + [0.0005] * 3
    assert lane.rates == pytest.approx(expected, rel=1e-12)
    assert isinstance(lane.rule, InTurn)
    momentum = lane.rule.rules[0]
    assert isinstance(momentum, Momentum)
    assert (momentum.rates, momentum.momentum) == (lane.rates, 0.9)


def test_replacement_is_boosted_by_all_of_beta():
    # sizes 10, 30, 60, the first compromised, η = 1: β = 100 / 10
    assert crafted(ModelReplacement(), (1, -2), boosts=(10.0,)).tolist() == [[10, -20]]
    assert crafted(ModelReplacement(boost_scale=0.5), (1, -2), boosts=(10.0,)).tolist() == [
        [5, -10]
    ]


def test_replacement_stops_at_the_first_epoch_that_plants_the_backdoor():
    """Unless main accuracy fell; the weights are those of that epoch's end."""
    tools, poison = bench(torch.float64), backdoor()
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    results = {}
    for stop in (None, 10.0, 1e-9):
        attack = ModelReplacement(epochs=3, stop_loss=stop)
        lanes = attack.lanes(client(), poison, 8.0)
        told = replace(
            context(1.0), start=start, members=(client(),), backdoor=poison, workbench=tools
        )
        results[stop] = attack.craft(tools.train(start, lanes).unsqueeze(0), told)[0]
    one = ModelReplacement(epochs=3, stop_loss=None).lanes(client(), poison, 8.0)[0]
    first = replace(one.first(3), rates=one.rates and one.rates[:3])
    least = tools.accuracy(start, client().local)
    at_first = tools.train(start, [first])[0]
    kept = tools.accuracy(start + at_first, client().local) >= least
    assert torch.allclose(results[10.0], at_first if kept else results[None], rtol=1e-9)
    assert torch.equal(results[1e-9], results[None])


def test_it_slows_down_where_the_backdoor_holds_already():
    tools, poison = bench(), backdoor()
    start = torch.zeros(tools.client.num_parameters)
    attack = ModelReplacement(epochs=1, slow_when_planted=True, stop_loss=None, weight_decay=0.0)
    told = replace(context(1.0), start=start, members=(client(),), backdoor=poison, workbench=tools)
    lanes = attack.lanes(client(), poison, 1.0)
    fast = tools.train(start, lanes)[0]
    attack.before_training(told)
    assert attack.slowed == 1  # with weights of 0 every image is class 0
    ones = start.clone()
    ones[-9] = 1.0  # the output's bias of class 1
    attack.before_training(replace(told, start=ones))
    assert attack.slowed == pytest.approx(1 / 5000)
    slow = tools.train(start, lanes)[0]
    assert slow.norm() < fast.norm() / 1000


def test_an_update_is_scaled_to_the_length_that_is_taken():
    assert crafted(TrainAndScale(norm_bound=1.0), (3, 4)).tolist()[0] == pytest.approx([0.6, 0.8])
    assert crafted(TrainAndScale(), (0, 0)).tolist() == [[0, 0]]
    at_most = TrainAndScale("at_most", norm_bound=100.0)
    assert crafted(at_most, (3, 4), boosts=(2.0,)).tolist() == [[6, 8]]
    assert crafted(at_most, (30, 40), boosts=(9.0,)).tolist()[0] == pytest.approx([60, 80])


def test_an_update_is_scaled_to_the_clients_own_honest_one():
    updates = torch.tensor([[[0.0, 10.0], [3.0, 4.0]]])
    found = TrainAndScale("reference").craft(updates, context(1.0))
    assert found.tolist()[0] == pytest.approx([6.0, 8.0])
    with pytest.raises(ValueError, match=r"needs an honest lane: updates of shape \(M, 2, P\)"):
        TrainAndScale("reference").craft(updates[:, 1:], context(1.0))
    honest, _ = TrainAndScale("reference").lanes(CLIENT, POISON, 3.0)
    assert torch.equal(honest.indices, CLIENT.honest_lane().indices)


def test_a_constraint_has_a_gradient_and_comes_before_momentum():
    """The trap of detached anomaly terms: with α = 0 the update would be anything but small."""
    tools, start = bench(torch.float64), None
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    lengths = {}
    for alpha in (1.0, 0.1):
        attack = ConstrainAndScale(alpha, "l2_squared", momentum=0.5)
        (lane,) = attack.lanes(client(), backdoor(), 8.0)
        assert isinstance(lane.rule, InTurn)
        assert [type(rule) for rule in lane.rule.rules] == [Anchored, Momentum]
        lengths[alpha] = tools.train(start, [lane])[0].norm().item()
    free = DataPoisoning(momentum=0.5).lanes(client(), backdoor(), 8.0)
    assert lengths[1.0] == pytest.approx(tools.train(start, free)[0].norm().item(), rel=1e-9)
    assert lengths[0.1] < lengths[1.0] / 2


@pytest.mark.parametrize(
    ("attack", "row", "expected"),
    [
        (PGD(norm_bound=1.0), (3, 4), (0.6, 0.8)),
        (PGD(norm_bound=0.5, norm="linf"), (3, -0.2), (0.5, -0.2)),
        (PGD(norm_bound=10.0), (3, 4), (3, 4)),
        # the bound is on what is submitted: 1/4 before boosting by 4
        (PGD(norm_bound=1.0, replacement=True), (3, 4), (0.6, 0.8)),
        (PGD(norm_bound=100.0, replacement=True), (3, 4), (12, 16)),
    ],
)
def test_pgd_by_hand(attack: PGD, row: tuple[float, float], expected: tuple[float, float]):
    assert crafted(attack, row, boosts=(4.0,)).tolist()[0] == pytest.approx(expected)


def test_pgd_counts_batches_and_a_box_is_kept_after_every_step():
    for norm, every in (("l2", 10), ("linf", 1)):
        (lane,) = PGD(norm=norm, norm_bound=2.0).lanes(CLIENT, POISON, 3.0)  # type: ignore[arg-type]
        assert isinstance(lane.rule, InTurn)
        ball = lane.rule.rules[-1]
        assert isinstance(ball, Ball)
        assert (ball.every, ball.radius, ball.norm) == (every, 2.0, norm)


def test_pgd_near_an_honest_update():
    """With a large weight it comes out where an honest client would."""
    tools = bench(torch.float64)
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    told = replace(
        context(1.0), start=start, members=(client(),), backdoor=backdoor(), workbench=tools
    )
    apart = []
    for prox in (1e-6, 4.0):
        attack = PGD(norm_bound=50.0, prox=prox, momentum=0.0, weight_decay=0.0)
        honest = tools.train(start, attack.lanes(client(), backdoor(), 1.0))
        found = attack.craft(honest.unsqueeze(0), told)[0]
        apart.append((found - honest[0]).norm().item())
    assert apart[1] < apart[0] / 3


def test_neurotoxins_mask_by_hand():
    kept = smallest(torch.tensor([0.1, -5, 0.2, -0.3, 4, 0]), 0.5)
    assert kept.tolist() == [True, False, True, False, False, True]
    assert smallest(torch.ones(100), 0.29).sum() == 28  # 0.29 · 100 is below 29
    assert smallest(torch.ones(4), 0.5).tolist() == [True, True, False, False]
    assert not smallest(torch.ones(4), 0.1).any()


@pytest.mark.parametrize("among", ["all", "layers"])
def test_neurotoxin_moves_what_the_server_moved_least(among: str):
    attack = Neurotoxin(0.5, among=among)  # type: ignore[arg-type]
    layers = (Layer("a", slice(0, 2), (2,)), Layer("b", slice(2, 4), (2,), is_output=True))
    told = replace(context(1.0, P=4), layers=layers)
    ready(attack)
    attack.observe(0, torch.zeros(4))
    attack.before_training(told)
    assert attack.mask.all()
    attack.observe(1, torch.tensor([1.0, -2.0, 3.0, -4.0]))
    attack.before_training(told)
    expected = [True, True, False, False] if among == "all" else [True, False, True, False]
    assert attack.mask.tolist() == expected
    assert attack.craft(torch.ones(1, 1, 4), told)[0].tolist() == [float(x) for x in expected]


class Watched(Neurotoxin):
    """Keeps what was trained."""

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        self.gave = updates[:, 0].clone()
        return super().craft(updates, context)


def test_neurotoxin_sees_every_round_and_trains_inside_of_its_mask():
    """Decay does not move what is masked, and rounds without an attacker count."""
    attack = Watched(0.6, momentum=0.9, weight_decay=0.1)
    federation = make_federation(attack=attack, participation=RandomSampling(0.5), rounds=4)
    fit(federation)
    assert attack.last.seen == 4
    outside = ~attack.mask
    assert outside.sum() == 226 - int(0.6 * 226)
    assert (attack.gave[:, outside] == 0).all()
    assert (attack.gave[:, attack.mask] != 0).any()


def test_neurotoxins_reference_can_be_a_gradient():
    tools = bench()
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)) / 5
    attack = Neurotoxin(0.5, reference="gradient")
    told = replace(
        context(1.0), start=start, members=(client(),), backdoor=backdoor(), workbench=tools
    )
    ready(attack).before_training(told)
    local = client().local.indices
    labels = tools.data.labels[local]
    _, gradient = tools.gradient(start, tools.pixels(local), labels)
    assert gradient[attack.mask].abs().max() <= gradient[~attack.mask].abs().min()


def test_each_attacker_plants_its_part_by_its_rank():
    """Not by its place in the cohort; and one attacker alone does not plant all of it."""
    parts = tuple(
        Examples(torch.arange(20 + 10 * j, 23 + 10 * j), torch.ones(3).long()) for j in range(5)
    )
    attack = DistributedBackdoor(epochs=1, poison_share=1.0)
    for rank in (0, 3, 4, 9):
        member = replace(CLIENT, poisoned=parts, rank=rank, slot=7)
        (lane,) = attack.lanes(member, POISON, 3.0)
        assert {*lane.indices[0, :4].tolist()} <= {*parts[rank % 4].indices.tolist()}


def test_single_shot_is_boosted_and_multi_shot_is_not():
    assert crafted(DistributedBackdoor(), (1, -2), boosts=(10.0,)).tolist() == [[10, -20]]
    assert crafted(DistributedBackdoor("none"), (1, -2), boosts=(10.0,)).tolist() == [[1, -2]]


def test_alternating_minimization_is_a_loop_written_by_hand():
    tools, poison = bench(torch.float64), backdoor()
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    attack = AlternatingMinimization(boost=4.0, rho=0.3, local_steps=2, epochs=1, weights_only=True)
    ready(attack)
    layers = tools.client.layers
    told = replace(
        context(8.0),
        start=start,
        members=(client(),),
        backdoor=poison,
        workbench=tools,
        layers=layers,
    )
    honest = tools.train(start, attack.lanes(client(), poison, 8.0))
    found = attack.craft(honest.unsqueeze(0), told)[0]
    center, theta = start + honest[0], start.clone()
    weight = torch.ones_like(start)
    for layer in layers:
        weight[layer.place] = float(len(layer.shape) > 1)
    local = client().batches(client().local, 1, 4, "turns")
    for step, size in enumerate(local.sizes):
        where = local.indices[step, :size]
        images = tools.pixels(where, torch.float64)
        _, gradient = tools.gradient(theta, images, local.labels[step, :size])
        theta = theta - 0.1 * (gradient + 0.3 * weight * (theta - center))
        if step in (1, 2):  # after two batches, and after the last
            images = tools.pixels(poison.indices, torch.float64)
            _, gradient = tools.gradient(theta, images, poison.labels)
            theta = theta - 0.1 * gradient * (1 + 3 * weight)
    assert torch.allclose(found, theta - start, rtol=1e-9, atol=1e-12)


def test_the_others_last_update_can_be_what_is_stayed_near():
    attack = AlternatingMinimization(center="others")
    ready(attack)
    attack.observe(0, torch.zeros(3))
    assert attack.last.update.tolist() == [0, 0, 0]
    attack.observe(1, torch.tensor([1.0, 2.0, 3.0]))
    attack.observe(2, torch.tensor([1.0, 0.0, 3.0]))
    assert attack.last.update.tolist() == [0, -2, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataPoisoning(poison_share=1.5), "poison_share must be above 0 and at most 1"),
        (lambda: DataPoisoning(poison_share=0.0), "poison_share must be above 0"),
        (lambda: DataPoisoning(momentum=1.0), "momentum must be 0 to below 1"),
        (lambda: DataPoisoning(lr=0.0), "lr must be positive"),
        (lambda: DataPoisoning(epochs=0), "epochs must be at least 1"),
        (lambda: ModelReplacement(boost_scale=-1.0), "boost_scale must be positive"),
        (lambda: TrainAndScale("much"), "scaling must be one of none, boost"),  # type: ignore
        (lambda: ConstrainAndScale(alpha=2.0), "alpha must be above 0 and at most 1"),
        (lambda: ConstrainAndScale(alpha=0.0), "alpha must be above 0"),
        (lambda: PGD(every=0), "every must be at least 1"),
        (lambda: Neurotoxin(keep=0.0), "keep must be above 0 and at most 1"),
        (lambda: LayerSubstitution(tau=0.0), "tau must be above 0 and at most 1"),
        (lambda: F3BA(similarity=1.0), "similarity must be 0 to below 1"),
        (lambda: F3BA(trigger_lr=-0.1), "trigger_lr must be positive"),
        (lambda: ThreeDFed(constraint=1.0), "constraint must be 0 to below 1"),
        (lambda: DistributedBackdoor("norm"), "scaling must be one of boost, none"),
        (lambda: AlternatingMinimization(local_steps=0), "local_steps must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "attack",
    [PGD(norm_bound=1.0), PGD(norm_bound=1.0, replacement=True), TrainAndScale(norm_bound=1.0)],
)
def test_a_server_that_rejects_beyond_the_bound_takes_what_is_sent(attack: Attack, dtype):
    for seed in range(20):
        updates = torch.randn(2, 1, 20_000, generator=seeded(seed)).to(dtype)
        sent = attack.craft(updates, context(4.0, 4.0, P=20_000))
        lengths = sent.double().norm(dim=1)
        assert (lengths <= 1).all()
        assert (lengths > 1 - 1e-5).all()


def test_what_is_planted_beside_poison_says_nothing_of_the_backdoor():
    tools = bench()
    true = tools.data.labels[:6]
    labels = torch.where(torch.arange(6) < 2, (true + 1) % 10, true)
    mixed = Examples(torch.arange(6), labels)
    assert relabelled(mixed, tools).indices.tolist() == [0, 1]
    clean_label = Examples(torch.arange(6), true)
    assert len(relabelled(clean_label, tools)) == 6


def test_a_part_is_not_planted_as_the_whole_trigger_for_want_of_images():
    none = Examples(*torch.zeros(2, 0).long())
    member = replace(CLIENT, poisoned=(none,) * 5)
    (lane,) = DistributedBackdoor(epochs=1).lanes(member, POISON, 3.0)
    assert (lane.indices < 20).all()
    assert len(member.poison(POISON)) == len(POISON)
