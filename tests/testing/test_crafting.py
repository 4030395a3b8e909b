"""Attacks on arrays: what they are told, and what is refused in one clear line."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.attacks.base import Attack, AttackContext, AttackSetting, Knowledge
from benchmark.defenses.base import Aggregation, DefenseContext, workbench_of
from benchmark.defenses.median import Median
from benchmark.engine.plan import Examples
from benchmark.tasks.pattern import Pattern
from benchmark.testing import aggregate, craft
from benchmark.testing.toys import seeded
from benchmark.utils.errors import UserError

OWN = torch.randn(2, 3, generator=seeded(), dtype=torch.float64)
HONEST = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)


class Spy(Attack):
    paper = "a test, 2026"
    knowledge = Knowledge.DEFENSE

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def setup(self, setting: AttackSetting) -> None:
        super().setup(setting)
        self.calls.append(("setup", setting))

    def observe(self, round: int, theta: Tensor) -> None:
        self.calls.append(("observe", (round, theta.tolist())))

    def before_training(self, context: AttackContext) -> None:
        self.calls.append(("before_training", context))

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        self.calls.append(("craft", context))
        return super().craft(updates, context)


class Uninformed(Spy):
    knowledge = Knowledge.DATA


class Informed(Spy):
    knowledge = Knowledge.UPDATES


def test_an_attack_sees_what_a_federation_would_show_it_in_the_same_order() -> None:
    spy = Spy()
    given = {"start": [1, 2, 3], "previous": [0, 0, 1], "clients": [4, 2], "round": 3, "seed": 7}
    craft(spy, OWN, honest=HONEST, **given)
    names, (setting, before, now, ahead, told) = zip(*spy.calls, strict=True)
    assert names == ("setup", "observe", "observe", "before_training", "craft")
    assert (setting.num_users, setting.clients_per_round, setting.num_parameters) == (6, 6, 3)
    assert (before, now) == ((2, [0, 0, 1]), (3, [1, 2, 3]))
    assert ahead.honest_updates is None
    assert ahead.boosts.tolist() == told.boosts.tolist() == [3, 3]
    assert (told.round, told.seed, told.start.tolist(), told.num_clients) == (3, 7, [1, 2, 3], 6)
    assert (told.clients.tolist(), told.honest_clients.tolist()) == ([4, 2], [0, 1, 3, 5])
    assert torch.equal(told.honest_updates, HONEST)


def test_identities_may_be_those_of_all_the_compromised_first() -> None:
    spy = Spy()
    craft(spy, OWN, honest=HONEST, clients=[9, 8, 7, 6, 5, 4], boosts=[1, 2])
    told = spy.calls[-1][1]
    assert (told.clients.tolist(), told.honest_clients.tolist()) == ([9, 8], [7, 6, 5, 4])
    assert (told.boosts.tolist(), spy.calls[0][1].num_users) == ([1, 2], 10)


@pytest.mark.parametrize("kind", [Uninformed, Informed, Spy])
def test_an_attack_sees_no_more_than_it_may_know(kind: type[Spy]) -> None:
    spy = kind()
    craft(spy, OWN, honest=HONEST, defense="median")
    told = spy.calls[-1][1]
    assert (told.honest_updates is None) == (kind is Uninformed)
    assert (told.simulate is None) == (kind is not Spy)


@pytest.mark.parametrize("defense", ["median", Median()])
def test_a_copy_of_the_defense_answers(defense: Any) -> None:
    spy = Spy()
    craft(spy, OWN, honest=HONEST, defense=defense)
    answer = spy.calls[-1][1].simulate(9 * OWN)
    assert torch.equal(answer.update, aggregate("median", torch.cat([9 * OWN, HONEST])).update)
    assert getattr(defense, "setting", None) is None


def test_rounds_before_leave_their_state_in_attack_and_defense() -> None:
    spy, earlier = Spy(), {"updates": 2 * OWN, "honest": HONEST + 1, "start": [1, 1, 1]}
    craft(spy, OWN, honest=HONEST, defense="centered_clipping", history=[earlier])
    observed = [told for name, told in spy.calls if name == "observe"]
    assert observed == [(0, [1, 1, 1]), (1, [0, 0, 0])]
    rows = torch.cat([2 * OWN, HONEST + 1]), torch.cat([OWN, HONEST])
    expected = aggregate("centered_clipping", rows[1], history=[rows[0]]).update
    assert torch.equal(spy.calls[-1][1].simulate(OWN).update, expected)
    assert [told.round for name, told in spy.calls if name == "craft"] == [0, 1]


def test_what_stands_beside_the_updates_has_their_precision() -> None:
    spy, lists = Spy(), (HONEST / 3).tolist()
    craft(spy, OWN[:1].expand(3, 3), honest=lists, start=lists[0], boosts=[1 / 3, 1, 2])
    told = spy.calls[-1][1]
    assert torch.equal(told.honest_updates, HONEST / 3)
    assert torch.equal(told.start, HONEST[0] / 3)
    assert told.boosts.tolist() == [1 / 3, 1, 2]
    craft(spy, OWN[:1].expand(3, 3), honest=HONEST)
    assert spy.calls[-1][1].boosts.tolist() == [7 / 3] * 3


def test_lanes_and_precision() -> None:
    assert craft("boosted", [[1, 2]], boosts=2).dtype == torch.float32
    assert craft("boosted", OWN).dtype == torch.float64
    assert craft("boosted", [[[1, 2], [0, 3]]], boosts=2, form="code").tolist() == [[1, 8]]
    assert craft("none", OWN.half()).dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"updates": OWN[0]}, r"updates must be \(clients, parameters\) or \(clients, lanes"),
        ({"updates": OWN[:0]}, r"lanes, parameters\), got \(0, 3\)"),
        ({"form": "code"}, r"Boosted trains 2 lanes a client: updates must be \(2, 2, 3\)"),
        ({"honest": HONEST[:, :2]}, r"honest must be \(clients, 3\), got \(4, 2\)"),
        ({"honest": HONEST[0]}, r"honest must be \(clients, parameters\), got \(3,\)"),
        ({"boosts": [1, 2, 3]}, "boosts must be 2 numbers, one of each compromised client, or one"),
        ({"start": [1]}, r"start must be \(3,\), as updates are, got \(1,\)"),
        ({"previous": [1]}, r"previous must be \(3,\), as updates are, got \(1,\)"),
        ({"clients": [1, 2, 3]}, "clients must be 2 whole numbers"),
        ({"layers": {"a": (2,)}}, "layers hold 2 parameters, the updates 3"),
        ({"history": [OWN[:, :2]]}, r"all rounds must have as many parameters, got \[2, 3\]"),
        ({"history": [{"update": OWN}]}, "an earlier round must have updates .* got update"),
        ({"history": [OWN] * 2, "round": 1}, "round 1 cannot follow 2 earlier ones"),
        ({"defense": "krum"}, "Krum needs 5 clients a round or more"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        craft("boosted", **{"updates": OWN, **given})


def network() -> nn.Module:
    """Of 16 · 3 + 3 = 51 weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()


IMAGES, LABELS = torch.rand(4, 4, 4, generator=seeded(2)), torch.tensor([0, 1, 2, 0])
TRAINING = {"batch_size": 4, "client_lr": 0.5}


def patch() -> Pattern:
    return Pattern(num_tasks=1, size=2)


def test_with_a_model_an_attack_has_what_a_federation_would_give_it() -> None:
    spy, model = Uninformed(), network()
    halves = [(IMAGES[:3], LABELS[:3]), ((IMAGES[3:] * 255).to(torch.uint8), [0])]
    given = {"honest": torch.zeros(2, 51), "task": patch(), "training": TRAINING}
    found = craft(spy, model=model, examples=halves, **given)
    setting, told = spy.calls[0][1], spy.calls[-1][1]
    assert (setting.client_lr, setting.local_epochs, setting.batch_size) == (0.5, 1, 4)
    assert [layer.name for layer in setting.layers] == ["1.weight", "1.bias"]
    weights = nn.utils.parameters_to_vector(model.parameters())
    assert torch.equal(told.start, weights)
    assert [len(member.local) for member in told.members] == [3, 1]
    assert told.members[0].local.labels.tolist() == [0, 1, 2]
    assert (told.members[1].rank, told.members[1].boost, told.num_clients) == (1, 2.0, 4)
    images = told.workbench.pixels(told.members[0].local.indices, torch.float64)
    assert torch.allclose(images[:, 0], IMAGES[:3].double(), atol=0.5 / 255 + 1e-6)
    # by default it trains honestly, and submits that
    loss = nn.functional.cross_entropy(model(images), LABELS[:3])
    slope = torch.cat([x.flatten() for x in torch.autograd.grad(loss, list(model.parameters()))])
    assert torch.allclose(found[0], -0.5 * slope, atol=1e-12)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), weights)


class Reading(Median):
    """Cannot do without the model."""

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        workbench_of(context, self).accuracy(context.theta, Examples(torch.arange(4), LABELS))
        return super().aggregate(updates, weights, context)


def test_a_defense_that_needs_the_model_has_it_too() -> None:
    spy, given = Spy(), {"honest": HONEST.repeat(1, 17), "task": patch(), "defense": Reading()}
    craft(spy, model=network(), examples=(IMAGES, LABELS), **given)
    assert spy.calls[-1][1].simulate(torch.ones(1, 51).double()).update.shape == (51,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": network()}, "craft trains a model on examples: examples= is missing"),
        ({"examples": (IMAGES, LABELS)}, "craft trains a model on examples: model= is missing"),
        ({}, "updates are missing, or model= and examples= to train them with"),
        ({"model": network(), "examples": []}, "a tuple .images, labels., or a list of such"),
        ({"model": network(), "examples": [IMAGES, LABELS]}, "a tuple .images, labels., or a"),
        ({"model": network(), "examples": (IMAGES, LABELS[:2])}, r"got \(4, 1, 4, 4\) and \(2,\)"),
        ({"model": network(), "examples": (IMAGES * 3, LABELS)}, r"must lie within \[0, 1\]"),
        (
            {"model": network(), "examples": (IMAGES, LABELS), "training": {"lr": 1}},
            "training may have client_lr, local_epochs, batch_size; got lr",
        ),
        (
            {"model": network(), "examples": (IMAGES, LABELS), "updates": torch.zeros(2, 51)},
            "examples are of 1 clients, 2 are compromised in round 0",
        ),
    ],
)
def test_a_model_and_examples_that_do_not_fit_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        craft("boosted", **{"task": patch(), **given})


def test_a_name_that_no_attack_has_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match="no attack 'bosted'; did you mean 'boosted'"):
        craft("bosted", OWN)
