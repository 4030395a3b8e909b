"""Focused flip: whose signs are turned, and to what."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.f3ba import F3BA, candidates, flipped, pattern_of, scaled_to
from benchmark.tasks.learned_patch import LearnedPatch
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready
from benchmark.testing.toys import make_dataset, seeded


def test_candidates_by_hand():
    theta, previous = torch.tensor([1.0, -2, 3, -4]), torch.tensor([1.5, -1, 3, -5])
    # scores -0.5, 2, 0, -4
    assert candidates(theta, previous, 0.5).tolist() == [True, False, False, True]
    assert candidates(theta, previous, 0.25).tolist() == [False, False, False, True]
    assert not candidates(theta, previous, 0.2).any()  # ⌊0.8⌋ is nobody
    assert not candidates(theta, theta, 0.75).any()  # all scores tie
    assert candidates(theta, previous, 0.99).sum() == 3


def test_a_sign_is_turned_where_one_is_wanted_and_kept_where_none_is():
    weight, signs = torch.tensor([[1.0, -2.0, -3.0, 4.0]]), torch.tensor([[-5.0, 0.0, 0.1, -1.0]])
    chosen = torch.tensor([[True, True, True, False]])
    assert flipped(weight, signs, chosen).tolist() == [[-1, -2, 3, 4]]


def test_what_is_wanted_of_a_kernel_has_its_size_and_the_range_of_each_filter():
    kernel = torch.tensor([[[[1.0, 5.0]]], [[[-1.0, 3.0]]]])  # two filters of 1 x 1 x 2
    wanted = torch.tensor([[[0.2, 0.6]]])
    assert torch.allclose(scaled_to(kernel, wanted), kernel)
    assert torch.allclose(scaled_to(kernel, 100 * wanted - 7), kernel)
    assert (
        scaled_to(kernel, torch.full((1, 4, 4), 0.5)).tolist() == torch.zeros(2, 1, 1, 2).tolist()
    )
    ramp = torch.arange(4.0).repeat(4, 1)[None]
    found = scaled_to(torch.tensor([[[[-1.0, 1.0]]]]), ramp)
    assert found.flatten().tolist() == pytest.approx([-1, 1])


@pytest.fixture
def patch() -> LearnedPatch:
    task = LearnedPatch(num_tasks=1, size=3)
    task.setup(make_dataset(), 0)
    task.learn(torch.linspace(0, 1, 9).view(1, 3, 3))
    return task


def told(patch: LearnedPatch, start: Tensor) -> AttackContext:
    return replace(context(bench(torch.float64), start), trigger=patch)


def test_the_pattern_is_what_the_trigger_changes(patch: LearnedPatch):
    images = bench().pixels(torch.arange(8), torch.float64)
    there = told(patch, torch.zeros(410).double())
    found = pattern_of(there, images)
    assert found is not None
    assert torch.allclose(found, patch.pattern.double())
    assert pattern_of(replace(there, trigger=None), images) is None


def test_its_first_round_flips_nothing_and_later_ones_do_before_they_train(patch: LearnedPatch):
    start = torch.randn(410, generator=seeded(8)).double() / 5
    moved = start + torch.randn(410, generator=seeded(9)).double() / 50
    attack = F3BA(conv_rate=0.4, lr=1e-9, trigger_passes=0)
    ready(attack)
    given = torch.zeros(1, 1, 410).double()
    first = attack.craft(given, told(patch, start))[0]
    assert first.norm() < 1e-5
    assert attack.rounds == 1
    assert torch.equal(attack.previous, start)
    there = told(patch, moved)
    second = moved + attack.craft(given, there)[0]
    turned = second.sign() != moved.sign()
    kernel = there.layers[0]
    chosen = candidates(moved[kernel.place], start[kernel.place], 0.4)
    wanted = scaled_to(kernel.of(moved), patch.pattern.double()).flatten()
    expected = chosen & (wanted.sign() != moved[kernel.place].sign())
    assert expected.any()
    assert torch.equal(turned[kernel.place], expected)
    assert not turned[kernel.place.stop :].any()
    assert torch.allclose(second.abs(), moved.abs(), atol=1e-6)


def test_the_trigger_is_learned_from_its_second_round_on(patch: LearnedPatch):
    """And lights up the first convolution more than before."""
    tools, start = bench(torch.float64), torch.randn(410, generator=seeded(8)).double() / 5
    attack, before = F3BA(trigger_lr=300.0), patch.pattern.clone()
    ready(attack)
    there = told(patch, start)
    attack.before_training(there)
    assert torch.equal(patch.pattern, before)
    attack.craft(torch.zeros(1, 1, 410).double(), there)
    images = tools.pixels(client().local.indices, torch.float64)

    def change() -> float:
        seen = [tools.activations(start, x, "1.weight") for x in (patch.stamp(images), images)]
        return float((seen[0].mean(dim=(0, 1)) - seen[1].mean(dim=(0, 1))).norm())

    least = change()
    attack.before_training(there)
    assert change() > least
    attack.trigger_passes, before = 0, patch.pattern.clone()
    attack.before_training(there)
    assert torch.equal(patch.pattern, before)


def test_training_can_be_held_where_it_begins():
    start = torch.randn(410, generator=seeded(8)).double() / 5
    lengths = []
    for similarity in (0.0, 0.9):
        attack = F3BA(lr=0.1, epochs=3, similarity=similarity)
        ready(attack)
        there = context(bench(torch.float64), start)
        lengths.append(float(attack.craft(torch.zeros(1, 1, 410).double(), there).norm()))
    assert lengths[1] < lengths[0] / 2


def test_its_one_lane_costs_a_step():
    (lane,) = F3BA().lanes(client(), backdoor(), 1.0)
    assert lane.num_steps == 1
    with pytest.raises(ValueError, match="conv_rate must be 0 to below 1"):
        F3BA(conv_rate=1.0)
