"""What plug-ins of anybody's must return, and what is said where they do not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.boosted import Boosted
from benchmark.defenses.base import Aggregation, DefenseContext
from benchmark.defenses.mean import Mean
from benchmark.federation.contract import DivergedError
from benchmark.utils.errors import UserError
from tests.support.toys import fit, make_federation

NAN = float("nan")


def sound(updates: Tensor) -> dict[str, Any]:
    K = len(updates)
    return {"update": updates.mean(0), "trust": torch.ones(K), "info": {"seen": torch.tensor(1.0)}}


class Answering(Mean):
    """Returns what a test wants."""

    def __init__(self, answer: Callable[[Tensor], Any]):
        super().__init__()
        self.answer = answer

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        return self.answer(updates)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda u: {"update": u}, r"an update of shape \(226,\), got shape \(3, 226\)"),
        (lambda u: {"update": u.mean(0)[:-1]}, r"an update of shape \(226,\), got shape \(225,\)"),
        (lambda u: {"update": None}, r"an update of shape \(226,\), got NoneType"),
        (lambda u: {"update": u.mean(0).half()}, "an update in torch.float64 .* got torch.float16"),
        (lambda u: {"trust": torch.ones(4)}, r"trust of shape \(3,\) or None, got shape \(4,\)"),
        (lambda u: {"trust": [1, 1, 1]}, r"trust of shape \(3,\) or None, got list"),
        (lambda u: {"trust": torch.tensor([1, NAN, 0])}, r"trust in \[0, 1\], got \[1.0, nan, 0.0"),
        (lambda u: {"trust": torch.tensor([1, 2.0, 0])}, r"trust in \[0, 1\], got \[1.0, 2.0, 0.0"),
        (lambda u: {"info": {"a": torch.tensor(NAN)}}, "finite numbers as info, got a = nan"),
        (lambda u: {"info": {"a": torch.ones(2)}}, "finite numbers as info, got a = tensor"),
    ],
)
def test_a_defense_that_returns_something_else_is_named(
    change: Callable[[Tensor], dict[str, Any]], fault: str
) -> None:
    defense = Answering(lambda updates: Aggregation(**{**sound(updates), **change(updates)}))
    federation = make_federation(defense=defense, rounds=1)
    where = r"defense Answering \(tests\.federation\.test_contract\): aggregate must return "
    with pytest.raises(UserError, match=where + fault):
        fit(federation)


def test_nothing_at_all_is_no_aggregation() -> None:
    federation = make_federation(defense=Answering(lambda updates: None), rounds=1)
    with pytest.raises(UserError, match="must return an Aggregation, got NoneType"):
        fit(federation)


def test_a_sound_answer_is_taken() -> None:
    federation = make_federation(
        defense=Answering(lambda updates: Aggregation(**sound(updates))), rounds=1
    )
    before = federation.theta.detach().clone()
    fit(federation)
    assert not torch.equal(federation.theta, before)


@pytest.mark.parametrize("crafted", [lambda u: u[:, 0, :-1], lambda u: u, lambda u: None])
def test_an_attack_that_submits_something_else_is_named(crafted: Callable[[Tensor], Any]) -> None:
    class Odd(Boosted):
        def craft(self, updates: Tensor, context: Any) -> Tensor:
            return crafted(updates)

    with pytest.raises(UserError, match=r"attack Odd \(.*craft must return a tensor of shape \(1,"):
        fit(make_federation(attack=Odd(), rounds=1))


def test_a_defense_that_wants_more_clients_is_refused_at_the_start() -> None:
    class Many(Mean):
        assumed_compromised = 1

        @classmethod
        def min_clients(cls, assumed_compromised: int) -> int:
            return 2 * assumed_compromised + 2

    with pytest.raises(ValueError, match="Many needs 4 clients a round or more"):
        make_federation(defense=Many(), clients_per_round=3)
    assert make_federation(defense=Many(), clients_per_round=4).defense.assumed_compromised == 1


def test_a_defense_that_wants_data_of_its_own_is_refused_at_the_start() -> None:
    class Rooted(Mean):
        needs_root_data = True

    with pytest.raises(ValueError, match="Rooted needs clean data of the server's own"):
        make_federation(defense=Rooted())


def test_a_model_that_the_servers_step_makes_infinite_is_told_of_in_the_last_round() -> None:
    class Late(Mean):
        def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
            return theta / 0

    with pytest.raises(DivergedError, match="round 0: the global model after the step is not") as e:
        fit(make_federation(defense=Late(), rounds=1))
    assert (e.value.round, e.value.honest, e.value.compromised) == (0, [], [])
