"""Lockdown: who trains inside of what, how masks move, what is deployed."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmark.defenses.base import DefenseContext
from benchmark.defenses.lockdown import Lockdown
from benchmark.defenses.masks import Masked
from benchmark.engine.client import Layer
from benchmark.engine.plan import Plan
from benchmark.testing.toys import model_context, seeded
from tests.defenses.test_server_rules import setting
from tests.support.toys import fit, make_federation


def test_honest_clients_train_inside_of_their_masks() -> None:
    federation = make_federation(defense=Lockdown(density=0.4), rounds=1)
    start = federation.theta.detach().clone()
    fit(federation)
    defense = federation.defense
    cohort, plan = federation.prepare(0)
    # As everybody has the same mask until somebody moves it, give them others.
    defense.masks = torch.rand(defense.masks.shape, generator=seeded()) < 0.4
    updates = federation.engine.train(start, plan).updates
    for slot, client in enumerate(cohort.clients.tolist()):
        mask = defense.masks[client]
        data = federation.local(0, slot, federation.dataset.train.user(client))
        lane = replace(data.honest_lane(), rule=Masked(lambda mask=mask: mask))
        (moved,) = federation.engine.train(start * mask, Plan(0, [lane])).updates
        assert torch.allclose(start + updates[slot], start * mask + moved, atol=1e-12)
        assert moved[mask].abs().max() > 0
        assert (start + updates[slot])[~mask].abs().max() == 0


def locked(rounds: int, **options: Any) -> tuple[Lockdown, DefenseContext]:
    """For two clients whose images a workbench has, in the first of some rounds."""
    context = model_context(2)
    bench = context.workbench
    assert bench
    bench.data = replace(bench.data, offsets=torch.tensor([0, 15, 40]))
    theta = torch.randn(410, generator=seeded(1))
    context = replace(context, theta=theta)
    defense = Lockdown(**options)
    sizes = {"num_users": 2, "clients_per_round": 2, "num_parameters": 410}
    defense.setup(setting(layers=context.layers, rounds=rounds, **sizes))
    return defense, context


@pytest.mark.parametrize(("round", "rate"), [(0, 0.2 * (1 + math.cos(math.pi / 5))), (4, 0.0)])
def test_the_smallest_weights_of_a_mask_give_way_to_the_most_wanted(
    round: int, rate: float
) -> None:
    defense, context = locked(rounds=10, density=0.5, churn=0.4)
    context = replace(context, round=round)
    bench = context.workbench
    assert bench
    defense.before_round(context.theta, context)
    before = defense.masks.clone()
    assert torch.equal(before[0], before[1])
    updates = torch.randn(2, 410, generator=seeded(2))
    found = defense.aggregate(updates, torch.tensor([0.25, 0.75]), context).update
    assert torch.allclose(found, (updates * before * torch.tensor([[0.25], [0.75]])).sum(dim=0))
    defense.after_round(context.theta + found, context)
    for client, own in enumerate([range(15), range(15, 40)]):
        local = (context.theta + updates[client]) * before[client]
        left = before[client].clone()
        for layer in context.layers:
            inside = layer.place.start + before[client][layer.place].nonzero().flatten()
            count = math.ceil(rate * len(inside))
            left[inside[local[inside].abs().argsort()[:count]]] = False
        images, labels = bench.pixels(torch.tensor(own)), bench.data.labels[list(own)]
        gradient = bench.gradient(local * left, images, labels)[1].abs()
        after = left.clone()
        for layer in context.layers:
            outside = layer.place.start + (~left[layer.place]).nonzero().flatten()
            count = int(before[client][layer.place].sum() - left[layer.place].sum())
            after[outside[gradient[outside].argsort(descending=True)[:count]]] = True
        assert torch.equal(defense.masks[client], after)
        assert torch.equal(after, before[client]) == (rate == 0)
        for layer in context.layers:
            assert after[layer.place].sum() == before[client][layer.place].sum()


def test_what_few_hold_is_kept_but_not_deployed() -> None:
    defense, context = locked(rounds=10, consensus=0.5, regrow="random", churn=0.5)
    defense.setup(
        replace(setting(layers=context.layers, rounds=10), num_users=4, num_parameters=410)
    )
    defense.drawn = torch.tensor(True)
    defense.masks[:2, :100] = True
    defense.masks[0, 100:200] = True
    defense.masks[1, 200:300] = True
    held, theta = defense.masks.sum(dim=0) >= 2, context.theta
    assert torch.equal(defense.after_round(theta, context), theta)
    assert torch.equal(defense.deployed(theta, context), theta * held)
    assert held.sum() == 100
    # What counts is who held it in training, not whom it was left to.
    defense.submitted = {0: torch.zeros(410), 1: torch.zeros(410)}
    defense.after_round(theta, context)
    assert (defense.masks.sum(dim=0) >= 2).sum() != 100
    assert torch.equal(defense.deployed(theta, context), theta * held)


def test_masks_are_of_their_density_and_not_too_many() -> None:
    defense, context = locked(rounds=3, density=0.3)
    defense.before_round(context.theta, context)
    held = [int(defense.masks[0][layer.place].sum()) for layer in context.layers]
    # Biases whole; of 36 and 360 weights as many as 11/36 and 46/360 tell, times one factor.
    assert (held[1], held[3]) == (4, 10)
    assert sum(held) == pytest.approx(0.3 * 410, abs=2)
    assert held[0] / held[2] == pytest.approx((4 + 1 + 3 + 3) / 46, abs=0.02)
    layers = (Layer("all", slice(0, 2**20), (2**20,), is_output=True),)
    with pytest.raises(ValueError, match="2049 users of 1048576 parameters are too many"):
        Lockdown().setup(setting(num_users=2049, num_parameters=2**20, layers=layers))
