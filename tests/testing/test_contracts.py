"""A stranger's package uses the contracts, and they find what is wrong."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import benchmark.attacks
from benchmark.attacks.base import Attack, AttackContext
from benchmark.defenses.base import Aggregation, Defense, DefenseContext
from benchmark.engine.plan import Examples, Lane, LocalClient
from benchmark.testing import AttackContract, DefenseContract, PluginContract
from tests.support.documents import newcomer


def failures(contract: PluginContract, name: str) -> set[str]:
    """The tests of a contract that fail, each run once."""
    failed = set()
    arguments = {"M": 2, "participation": "random_sampling", "poison": torch.inf, "coordinates": 1}
    for test, method in inspect.getmembers(contract, inspect.ismethod):
        if not test.startswith("test_"):
            continue
        plugin = contract.build(name)
        given = {"name": name, "plugin": plugin, **arguments}
        try:
            method(**{key: given[key] for key in inspect.signature(method).parameters})
        except pytest.skip.Exception:
            pass
        except Exception:
            failed.add(test.removeprefix("test_"))
    return failed


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """CONTRIBUTING's example, in a folder of its own."""
    newcomer(tmp_path)
    attacks = tmp_path / "benchmark" / "attacks"
    monkeypatch.setattr(benchmark.attacks, "__path__", [*benchmark.attacks.__path__, str(attacks)])
    yield tmp_path
    sys.modules.pop("benchmark.attacks.shout", None)


class Strangers(AttackContract):
    def __init__(self, conf: Path):
        self.conf = conf  # type: ignore[misc]


def test_the_example_of_contributing_keeps_the_contract(package: Path) -> None:
    assert failures(Strangers(package / "conf"), "shout") == set()


def test_a_yaml_that_tells_another_story_is_found(package: Path) -> None:
    path = package / "conf" / "attack" / "shout.yaml"
    path.write_text(path.read_text().replace("# Submit", "# submit").replace("scale: 1.0\n", ""))
    found = failures(Strangers(package / "conf"), "shout")
    assert "the_yaml_has_exactly_the_constructors_parameters" in found


class Mutating(Attack):
    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        return updates.neg_()[:, 0]


class Drawing(Attack):
    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        return updates[:, 0] + torch.randn(updates.shape[-1]).to(updates)


class Remembering(Attack):
    last: Any = 0

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        self.last = updates[:, 0] + self.last
        return self.last


class Growing(Attack):
    def lanes(self, client: LocalClient, backdoor: Examples, boost: float) -> list[Lane]:
        return [client.honest_lane()] * (2 if boost > 1 else 1)


class Peeping(Attack):
    def lanes(self, client: LocalClient, backdoor: Examples, boost: float) -> list[Lane]:
        other = Examples(backdoor.indices + 30, backdoor.labels)
        return [client.batches(other, 1, 4, "others")]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Mutating, "it_submits_one_finite_update_a_client_in_either_precision"),
        (Drawing, "it_is_deterministic"),
        (Remembering, "its_state_is_in_its_buffers"),
        (Growing, "a_client_always_has_as_many_lanes"),
        (Peeping, "lanes_train_on_the_adversarys_data_only"),
    ],
)
def test_an_attack_that_breaks_a_rule_fails(kind: type[Attack], expected: str) -> None:
    class Broken(AttackContract):
        def build(self, name: str) -> Attack:
            return kind()

    assert expected in failures(Broken(), "none")


class First(Defense):
    """Says nothing of the order of clients, and it counts."""

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        return Aggregation(updates[0])


class Summing(Defense):
    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        return Aggregation(updates.sum(dim=0))


class Counting(Defense):
    rounds = 0

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        self.rounds += 1
        return Aggregation(updates.mean(dim=0) / self.rounds)


class Hiding(Defense):
    """Zero where a client sent something that is not finite: others are moved unseen."""

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        known = updates.nan_to_num(posinf=1e6, neginf=-1e6)
        return Aggregation(known.mean(dim=0))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (First, "the_order_of_the_clients_is_irrelevant_where_it_says_so"),
        (Summing, "a_cohort_that_agrees_gets_its_update"),
        (Counting, "its_state_is_in_its_buffers"),
        (Hiding, "poison_that_is_not_finite_is_left_out_or_shows"),
    ],
)
def test_a_defense_that_breaks_a_rule_fails(kind: type[Defense], expected: str) -> None:
    class Broken(DefenseContract):
        def build(self, name: str) -> Defense:
            return kind()

    assert expected in failures(Broken(), "mean")
