"""A3FL and IBA: what is learned of a trigger, when, and from which model."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark.attacks.a3fl import A3FL, alikeness
from benchmark.attacks.base import AttackContext
from benchmark.attacks.dba import DistributedBackdoor
from benchmark.attacks.iba import IBA
from benchmark.engine.client import Layer
from benchmark.engine.workbench import Workbench
from benchmark.tasks.base import Task
from benchmark.tasks.learned_noise import LearnedNoise
from benchmark.tasks.learned_patch import LearnedPatch
from benchmark.tasks.pattern import Pattern
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready
from benchmark.testing.toys import make_dataset, seeded
from tests.support.toys import make_federation

START = torch.randn(410, generator=seeded(8)).double() / 2


def prepared(task: Task) -> Task:
    task.setup(make_dataset(), 0)
    return task


def told(task: Task) -> AttackContext:
    """One attacker whose data are one batch of 9."""
    member = replace(client(), batch_size=9)
    return replace(context(bench(torch.float64), START), members=(member,), trigger=task)


def loss(task: Task, there: AttackContext, theta: Tensor = START) -> float:
    """Of the attacker's images, stamped and read as it wants."""
    tools, local = there.workbench, client().local
    assert tools
    images = task.stamp(tools.pixels(local.indices, torch.float64))
    return float(tools.gradient(theta, images, torch.ones(9).long())[0])


def by_autograd(task: Task, name: str, theta: Tensor, tools: Workbench | None = None) -> Tensor:
    """∂CE/∂trigger, without any of the attack's code."""
    tools = tools or bench(torch.float64)
    tools.client.load(theta)
    value = task.get_buffer(name).double().clone().requires_grad_()
    images = tools.pixels(client().local.indices, torch.float64)
    bad = torch.func.functional_call(task, {name: value}, (images,)).clamp(0, 1)
    logits = tools.client.model(bad)
    (found,) = torch.autograd.grad(cross_entropy(logits, torch.ones(9).long()), value)
    return found


def test_a_pass_moves_the_patch_by_the_sign_of_its_gradient():
    patch = prepared(LearnedPatch(num_tasks=1))
    slope = by_autograd(patch, "pattern", START)
    attack = A3FL(passes=1, trigger_lr=0.1)
    attack.before_training(told(patch))
    expected = ((0.5 - 0.1 * slope.sign()) * 255).round() / 255
    assert (patch.pattern - expected).abs().max() <= 1 / 255 + 1e-6  # it began at 128/255
    assert slope.any()


def test_a_patch_is_learned_within_pixels():
    patch = prepared(LearnedPatch(num_tasks=1))
    there = told(patch)
    before = loss(patch, there)
    A3FL(passes=30, trigger_lr=0.05).before_training(there)
    assert loss(patch, there) < before
    assert patch.pattern.min() >= 0
    assert patch.pattern.max() <= 1


class Counted(A3FL):
    """Is unlearned by a model that is as it wants."""

    count = 0

    def _unlearned(self, *_: object) -> Tensor:
        self.count += 1
        return -START


@pytest.mark.parametrize(("adapt_every", "count"), [(1, 5), (2, 2), (5, 1), (6, 0)])
def test_it_adapts_but_not_before_the_first_pass(adapt_every: int, count: int):
    """The trap: adapting after as many passes as there are never adapts."""
    plain, patch = (prepared(LearnedPatch(num_tasks=1)) for _ in range(2))
    A3FL(passes=6, balance=0.0).before_training(told(plain))
    attack = Counted(passes=6, balance=50.0, adapt_every=adapt_every)
    attack.before_training(told(patch))
    assert attack.count == count
    assert torch.equal(patch.pattern, plain.pattern) == (count == 0)


def test_what_unlearns_is_trained_on_true_labels():
    patch, there = prepared(LearnedPatch(num_tasks=1)), None
    there = told(patch)
    tools = there.workbench
    assert tools
    batches = (client().local.indices,)
    attack = A3FL(adapt_epochs=1, adapt_lr=0.1)
    other = attack._unlearned(patch, patch.pattern.double(), batches, tools, START)
    images = patch.stamp(tools.pixels(batches[0], torch.float64))
    _, slope = tools.gradient(START, images, tools.data.labels[batches[0]])
    assert torch.allclose(other, START - 0.1 * (slope + 5e-4 * START), atol=1e-9)


def test_alikeness_is_of_kernels_or_else_of_matrices():
    there = told(prepared(LearnedPatch(num_tasks=1)))
    kernel = there.layers[0].place
    other = torch.zeros_like(START)
    other[kernel] = -START[kernel]
    assert alikeness(other, there) == pytest.approx(-1)
    dense = (Layer("a.weight", slice(0, 6), (2, 3)), Layer("a.bias", slice(6, 8), (2,)))
    assert alikeness(2 * START, replace(there, layers=dense)) == pytest.approx(1)


def lanes() -> Tensor:
    given = torch.zeros(1, 2, 410).double()
    given[0, 0, 0], given[0, 1, 1] = 1.0, 2.0
    return given


def test_iba_is_honest_until_the_noise_does_it_and_trains_it_on_the_local_model():
    noise = prepared(LearnedNoise(num_tasks=1, width=2))
    there, attack = told(noise), IBA(threshold=1.0, passes=1, trigger_lr=0.02)
    ready(attack)
    slope = by_autograd(noise, "weights", START + lanes()[0, 0])
    before = noise.weights.double().clone()
    attack.before_training(there)
    assert torch.equal(attack.craft(lanes(), there), lanes()[:, 0])
    assert torch.allclose(noise.weights.double(), before - 0.02 * slope, atol=1e-6)
    assert slope.any()
    assert 0 <= attack.success <= 1


def test_iba_plants_and_learns_on_in_every_second_round():
    noise = prepared(LearnedNoise(num_tasks=1, width=2))
    there, attack = told(noise), IBA(threshold=0.0, passes=1, trigger_lr=0.01)
    ready(attack)
    changed, planted = [], []
    for _ in range(5):
        before = noise.weights.clone()
        attack.before_training(there)
        planted.append(torch.equal(attack.craft(lanes(), there), lanes()[:, 1]))
        changed.append(not torch.equal(noise.weights, before))
    assert planted == [False, True, True, True, True]
    assert changed == [True, True, False, True, False]


def test_iba_learns_noise_that_is_read_as_wanted():
    noise = prepared(LearnedNoise(num_tasks=1, width=2))
    there, attack = told(noise), IBA(passes=50, trigger_lr=0.1)
    ready(attack)
    before = loss(noise, there)
    attack.craft(torch.zeros(1, 2, 410).double(), there)
    assert loss(noise, there) < before


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_ibas_noise_goes_on_learning_on_white_paper(rate: float):
    """Where tanh is saturated and pixels are clipped at 1 there would be no gradient left."""
    noise = prepared(LearnedNoise(num_tasks=1, width=4))
    there, attack = told(noise), IBA(passes=60, trigger_lr=rate)
    ready(attack)
    tools = there.workbench
    assert tools
    ink = torch.rand(1, 28, 28, generator=seeded()) < 0.1
    tools.data.images.copy_(255 * (1 - tools.data.images // 255 * ink))
    before = loss(noise, there)
    attack.craft(torch.zeros(1, 2, 410).double(), there)
    assert loss(noise, there) < before
    images = tools.pixels(client().local.indices, torch.float64)
    by_images = tools.gradient(START, noise.stamp(images), torch.ones(9).long(), by="images")[1]
    assert by_autograd(noise, "weights", START, tools).norm() > 0.1 * by_images.norm()


@pytest.mark.parametrize(
    ("attack", "fault"),
    [
        (A3FL(), "learns the trigger: it needs task=learned_patch"),
        (IBA(), "learns the trigger: it needs task=learned_noise"),
        (DistributedBackdoor(), "plants parts of the trigger: it needs task=dba"),
    ],
)
def test_a_task_without_the_trigger_it_needs_is_refused_before_the_first_round(attack, fault: str):
    with pytest.raises(ValueError, match=fault):
        make_federation(task=Pattern(num_tasks=2), attack=attack)


def test_lanes_are_as_their_papers_have_them():
    (lane,) = A3FL(poison_share=1.0).lanes(client(), backdoor(), 1.0)
    assert set(lane.indices[0].tolist()) <= {*backdoor().indices.tolist()}
    honest, _ = IBA().lanes(client(), backdoor(), 1.0)
    assert torch.equal(honest.indices, client().honest_lane().indices)
