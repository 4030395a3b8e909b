"""What attacks do by options of their papers: noise, smoothing, falling ε, decoys, own models."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.attacks.a3fl import A3FL
from benchmark.attacks.base import AttackContext
from benchmark.attacks.decoys import Pushed, alike
from benchmark.attacks.iba import IBA
from benchmark.attacks.layer_substitution import own_updates
from benchmark.attacks.marks import curvature, least_curved
from benchmark.attacks.model_replacement import ModelReplacement
from benchmark.attacks.three_dfed import ThreeDFed
from benchmark.engine.client import ClientModule, layers_of
from benchmark.engine.plan import Examples
from benchmark.engine.rules import Order, PixelNoise
from benchmark.tasks.learned_noise import LearnedNoise
from benchmark.testing import craft
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready
from benchmark.testing.toys import make_dataset, seeded

START = torch.randn(410, generator=seeded(8)).double() / 5
TOOLS = bench(torch.float64)


def gradient(theta: Tensor, images: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    TOOLS.client.load(theta)
    TOOLS.client.eval()
    loss = cross_entropy(TOOLS.client.model(images), labels, label_smoothing=smoothing)
    found = torch.autograd.grad(loss, list(TOOLS.client.model.parameters()))
    return torch.cat([part.flatten() for part in found])


def test_noise_is_on_what_is_marked_and_drawn_anew_in_each_step():
    where = torch.tensor([[True, False, True], [True, True, False]])
    noise = PixelNoise(0.01, where, (1, 2))
    images = torch.full((3, 1, 50, 50), 0.5, dtype=torch.float64)
    first, second = (noise.added(images, step) - images for step in (0, 1))
    assert not first[1].any()
    assert not second[2].any()
    for drawn in (first[0], first[2], second[0], second[1]):
        assert float(drawn.std()) == pytest.approx(0.01, rel=0.1)
        assert abs(float(drawn.mean())) < 1e-3
    drawn = [first[0], first[2], second[0], second[1]]
    assert not any(torch.equal(a, b) for a, b in pairwise(drawn))
    assert torch.allclose(noise.added(images.float(), 0).double(), images + first, atol=1e-7)
    assert torch.equal(noise.between(1, 2).added(images, 0), images + second)
    assert (noise.added(torch.ones(1, 1, 50, 50), 0) > 1).any()  # nothing is clamped


def test_replaced_models_train_on_noisy_poison_and_clean_images():
    """One step of one batch, by hand."""
    member = replace(client(), epochs=1, batch_size=9)
    attack = ModelReplacement(
        epochs=1, poison_share=4 / 9, lr=0.3, momentum=0.0, weight_decay=0.0,
        step_decay=False, stop_loss=None, noise_std=0.05,
    )  # fmt: skip
    (lane,) = attack.lanes(member, backdoor(), 1.0)
    is_poison = lane.indices[0] >= 50
    assert int(is_poison.sum()) == 4
    assert lane.noise is not None
    assert torch.equal(lane.noise.where[0], is_poison)
    images = TOOLS.pixels(lane.indices[0], torch.float64)
    drawn = torch.randn(4, 1, 28, 28, generator=seeded(lane.noise.seeds[0])).double()
    images[is_poison] += 0.05 * drawn
    expected = -0.3 * gradient(START, images, lane.labels[0])
    assert torch.allclose(TOOLS.train(START, [lane])[0], expected, atol=1e-12)
    again = attack.lanes(replace(member, round=member.round + 1), backdoor(), 1.0)[0]
    assert again.noise is not None
    assert again.noise.seeds != lane.noise.seeds
    (quiet,) = ModelReplacement(noise_std=0.0).lanes(member, backdoor(), 1.0)
    assert quiet.noise is None
    with pytest.raises(ValueError, match="noise is added to a lane that is whole"):
        quiet.then(lane)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a3fl_smooths_the_labels_of_its_local_training(smoothing: float):
    member = replace(client(), batch_size=9)
    attack = A3FL(epochs=1, poison_share=1.0, label_smoothing=smoothing)
    (lane,) = attack.lanes(member, backdoor(), 1.0)
    assert lane.by_autograd == bool(smoothing)
    images = TOOLS.pixels(lane.indices[0], torch.float64)
    expected = -0.1 * gradient(START, images, lane.labels[0], smoothing)
    assert torch.allclose(TOOLS.train(START, [lane])[0], expected, atol=1e-12)


def strengths(rounds: list[int], **parameters: float) -> list[float]:
    """ε in each of these rounds, the first of which is honest."""
    noise = LearnedNoise(num_tasks=1, width=2, epsilon=0.4)
    noise.setup(make_dataset(), 0)
    attack = IBA(threshold=0.0, passes=1, **parameters)  # type: ignore[arg-type]
    ready(attack)
    there = replace(context(TOOLS, START), trigger=noise)
    found = []
    for number in rounds:
        attack.before_training(replace(there, round=number))
        attack.craft(torch.zeros(1, 2, 410).double(), replace(there, round=number))
        found.append(float(noise.strength))
        images = torch.full((1, 1, 28, 28), 0.5)
        assert (noise.trigger(images) - 0.5).abs().max() <= found[-1] + 1e-6
    return found


def test_ibas_noise_falls_from_the_first_planted_round_on():
    found = strengths([2, 3, 4, 9, 40], epsilon_decay=0.1, least_epsilon=0.05)
    assert found == pytest.approx([0.4, 0.4, 0.36, 0.4 * 0.9**6, 0.05])
    assert strengths([0, 5, 9], epsilon_decay=0.0) == [0.4] * 3
    assert strengths([0, 5, 9], epsilon_decay=0.5, least_epsilon=0.9) == [0.4] * 3


LAYERS = layers_of(
    {"c.weight": (4, 1, 3, 3), "c.bias": (4,), "o.weight": (10, 36), "o.bias": (10,)}
)


def told(M: int, round: int = 0) -> AttackContext:
    members = tuple(replace(client(slot, M=M), round=round) for slot in range(M))
    there = replace(context(TOOLS, START), members=members, boosts=torch.ones(M))
    return replace(there, round=round, layers=LAYERS)


def test_a_decoy_trains_honestly_and_pushes_one_weight():
    rule = Pushed([0.1, 0.1], 2, lambda: torch.zeros(4).double())
    start = torch.tensor([1.0, 1.0, -1.0, 0.0]).double()
    state = rule.begin(start, Order())
    stepped = start - 0.1 * torch.ones(4).double()  # gradient 1
    found = rule.after_step(stepped.clone(), start, start, state)
    assert found.tolist() == pytest.approx([0.95, 0.95, -1.05 - 0.5, -0.05])
    far = torch.tensor([0.0, 0.0, -10.5, 0.0]).double()
    found = rule.after_step(far.clone(), far, start, state)
    assert found.tolist() == pytest.approx(far.tolist(), abs=1e-9)


def test_the_pushed_weight_is_the_outputs_in_which_both_updates_agree_most():
    honest, malicious = torch.zeros(410), torch.ones(410)
    malicious[[3, 50, 400]] = torch.tensor([0.0, 0.1, 0.0])  # a kernel's, a weight, a bias
    assert alike(honest, malicious, LAYERS, 2) == [50, 40]


def built(**parameters: Any) -> ThreeDFed:
    attack = ThreeDFed(epochs=1, mark=10.0, **parameters)
    ready(attack)
    attack.observe(0, torch.zeros(410).double())
    return attack


def rounds(attack: ThreeDFed, told_back: list[list[float]]) -> list[int]:
    """How many decoys there are after the server gave marks these shares of what they were."""
    given = torch.randn(4, 2, 410, generator=seeded(1), dtype=torch.float64) / 100
    attack.craft(given, told(4))
    found, theta = [], torch.zeros(410).double()
    for number, shares in enumerate(told_back):
        theta = theta.clone()
        for share, place, mark in zip(shares, attack.places, attack.marks, strict=False):
            theta[place] += share * mark
        attack.observe(number + 1, theta)
        attack.craft(given, told(4, number + 1))
        found.append(int(attack.decoys))
    return found


NONE, ALL = [0.0] * 4, [0.25] * 4


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([NONE, NONE, NONE, NONE], [1, 2, 3, 3]),
        ([NONE, NONE, [0.0, 0.0, 0.25, 0.25], NONE], [1, 2, 0, 1]),
        ([NONE, NONE, [0.0, 0.0, 0.0, 0.25], NONE], [1, 2, 1, 2]),
        ([NONE, [0.25, 0.0, 0.0, 0.0], ALL], [1, 1, 0]),
        ([NONE, [1.5, 0.0, 0.0, 0.0], NONE], [1, 0, 0]),
        ([ALL, ALL], [0, 0]),
    ],
)
def test_decoys_come_where_all_are_rejected_and_go_where_they_are_accepted(
    shares: list[list[float]], expected: list[int]
):
    assert rounds(built(most_decoys=3), shares) == expected
    assert rounds(built(most_decoys=0), shares) == [0] * len(shares)


def test_decoys_are_the_last_of_the_compromised_and_two_go_on_planting():
    attack = built(most_decoys=3)
    assert rounds(attack, [NONE, NONE, NONE]) == [1, 2, 3]
    assert attack.groups[:4].tolist() == [0, 0, -2, -2]
    given = torch.randn(4, 2, 410, generator=seeded(1), dtype=torch.float64) / 100
    again = built(most_decoys=3)
    again.load_state_dict(attack.state_dict())
    found = attack.craft(given, told(4, 9))
    assert torch.equal(found, again.craft(given, told(4, 9)))
    honest, malicious = given[0]
    malicious = malicious * max(1.0, float(honest.norm() / malicious.norm()))
    for row, place in zip(found[2:], alike(honest, malicious, LAYERS, 2), strict=True):
        others = row.clone()
        others[place] = others[attack.places[:4]] = 0
        assert abs(row[place]) > 1 > others.abs().max()


def test_marks_may_go_where_the_loss_curves_least():
    activity = torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 0.0, *range(10, 60)])
    curved = torch.tensor([0.0, 9.0, 1.0, -1.0, 2.0, 3.0, *[0.0] * 50])
    # of the ten least active: 5 1 2 3 4 0 and four of curvature 0, of which 0 is less active
    assert least_curved(activity, curved, 1).tolist() == [0]
    assert least_curved(activity, torch.ones(56), 3).tolist() == [5, 1, 2]
    there = told(2)
    kernel = LAYERS[0]
    attack = ThreeDFed(mark_by="curvature")
    found, expected = curvature(kernel, attack, there), torch.zeros(36).double()
    for examples in (there.members[0].local, backdoor()):
        for indices, labels in zip(
            examples.indices.split(4), examples.labels.split(4), strict=True
        ):
            images, h = TOOLS.pixels(indices, torch.float64), 1e-5
            step = torch.zeros(410).double()
            step[kernel.place] = h
            slopes = [gradient(START + s * step, images, labels)[kernel.place] for s in (1, -1)]
            expected += (slopes[0] - slopes[1]) / (2 * h)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.abs().max() > 1e-3
    with pytest.raises(ValueError, match="ThreeDFed trains: craft"):
        craft("three_dfed", torch.ones(2, 2, 410), layers=LAYERS, mark_by="curvature")


def test_layers_may_be_identified_with_models_of_their_own():
    """One pass is one step of 9 images: with momentum anew there is none."""
    local = Examples(torch.arange(8), torch.arange(8) % 10)
    member = replace(client(), local=local)
    honest, malicious = own_updates(member, backdoor(4), TOOLS, START)
    order = torch.randperm(8, generator=_validation(member))
    kept = order[2:]
    theta, passes = START.clone(), 0
    images = TOOLS.pixels(local.indices[kept], torch.float64)
    while passes < 32 and TOOLS.accuracy(theta, _part(local, kept)) < 0.9:
        for _ in range(4):
            theta = theta - 0.1 * gradient(theta, images, local.labels[kept])
        passes += 4
    assert torch.allclose(honest, theta - START, atol=1e-9)
    assert passes > 0
    both = _part(local, kept) + backdoor(4)
    images = TOOLS.pixels(both.indices, torch.float64)
    expected = theta - 0.1 * gradient(theta, images, both.labels)
    assert torch.allclose(malicious, expected - START, atol=1e-9)


def _part(examples: Examples, where: Tensor) -> Examples:
    return Examples(examples.indices[where], examples.labels[where])


def _validation(member: Any) -> torch.Generator:
    from benchmark.utils.randomness import generator

    return generator(member.seed, member.round, f"validation/{member.slot}")


def test_with_models_of_its_own_the_submitted_layers_are_still_the_lanes():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    P = ClientModule(model, 0.1).num_parameters
    given = torch.randn(1, 2, P, generator=seeded(1), dtype=torch.float64)
    images = torch.rand(12, 8, 8, generator=seeded(2))
    found = craft(
        "layer_substitution", given, model=model, own_models=True,
        examples=(images, torch.arange(12) % 2), tau=0.5,
    )  # fmt: skip
    is_one = (found == given[:, 0]) | (found == given[:, 1])
    assert is_one.all()
