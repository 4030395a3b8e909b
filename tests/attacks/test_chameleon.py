"""Chameleon's loss against a loop, and what its stages may move."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.chameleon import Chameleon, Contrastive
from benchmark.engine.plan import Examples
from benchmark.engine.workbench import Workbench
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready
from benchmark.testing.toys import seeded

FEATURES = torch.randn(5, 3, generator=seeded(2), dtype=torch.float64)
LABELS = torch.tensor([1, 1, 2, 1, 7])


def by_hand(scale: float) -> float:
    """Of labels 1, 1, 2, 1, 7, where the facilitator is 1; 2 and 7 are alone."""
    z, total = FEATURES / FEATURES.norm(dim=1, keepdim=True), 0.0
    for i in (0, 1, 3):
        others = [j for j in range(5) if j != i]
        partition = sum(math.exp(float(z[i] @ z[j]) / 0.07) for j in others)
        for p in {0, 1, 3} - {i}:
            total -= scale * math.log(math.exp(float(z[i] @ z[p]) / 0.07) / partition) / 2
    return total / 5


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_scale_is_of_the_target_class_and_not_of_the_count(scale: float):
    loss = Contrastive(lambda: torch.tensor([1]), scale, 0.07)
    found = loss(torch.zeros(5, 10), FEATURES, LABELS)
    assert float(found) == pytest.approx(by_hand(scale))
    # another class's scale changes nothing: 2 and 7 are alone
    other = Contrastive(lambda: torch.tensor([2, 7]), 9.0, 0.07)
    assert float(other(torch.zeros(5, 10), FEATURES, LABELS)) == pytest.approx(by_hand(1.0))


@pytest.mark.parametrize("labels", [[1], [1, 2, 3]])
def test_without_a_pair_there_is_no_gradient_and_no_nan(labels: list[int]):
    features = FEATURES[: len(labels)].clone().requires_grad_()
    loss = Contrastive(lambda: torch.tensor([1]), 4.0, 0.07)(
        torch.zeros(len(labels), 10), features, torch.tensor(labels)
    )
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


def trained(attack: Chameleon, tools: Workbench, start: Tensor) -> tuple[Tensor, Tensor]:
    """What the encoder's lane gives, and what is submitted."""
    told = replace(context(tools, start), members=(client(),), backdoor=backdoor())
    attack.before_training(told)
    first = tools.train(start, attack.lanes(client(), backdoor(), 1.0))
    return first[0], attack.craft(first[None], told)[0]


def test_each_stage_moves_its_own_weights_only():
    """Decay and momentum too; a freeze that is misspelt never takes effect."""
    tools = bench(torch.float64)
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    attack = Chameleon(contrastive_epochs=2, epochs=2, weight_decay=0.1)
    ready(attack)
    first, found = trained(attack, tools, start)
    encoder = torch.arange(len(start)) < 40
    assert first[encoder].any()
    assert not first[~encoder].any()
    assert torch.allclose(found[encoder], first[encoder], rtol=0, atol=1e-15)
    assert found[~encoder].any()
    attack.freeze = False
    _, unfrozen = trained(attack, tools, start)
    assert not torch.allclose(unfrozen[encoder], first[encoder], rtol=1e-6)


def test_both_stages_stay_in_the_ball_around_the_global_model():
    tools = bench(torch.float64)
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    attack = Chameleon(contrastive_epochs=1, epochs=1, norm_bound=1e-3)
    ready(attack)
    assert all(float(x.norm()) == pytest.approx(1e-3) for x in trained(attack, tools, start))


def test_rates_fall_in_the_third_epoch():
    (lane,) = ready(Chameleon()).lanes(client(), backdoor(), 1.0)
    steps = lane.num_steps // 10
    assert lane.rates is not None
    assert lane.rates[::steps][:5] == pytest.approx([0.01, 0.01, 1e-5, 1e-5, 1e-8])
    assert lane.loss is not None


def test_covers_do_not_make_their_classes_the_target():
    """As those of WaNet, which are planted beside what is stamped and keep their label."""
    tools = bench()
    covers = Examples(torch.arange(6), tools.data.labels[:6])
    changed = Examples(torch.arange(6), torch.full((6,), 7))
    attack = ready(Chameleon())
    assert isinstance(attack, Chameleon)
    start = tools.client.flat()
    attack.before_training(replace(context(tools, start), backdoor=changed + covers))
    (lane,) = attack.lanes(client(), changed + covers, 1.0)
    assert isinstance(lane.loss, Contrastive)
    assert lane.loss.facilitators().tolist() == [7]
