"""The race's game on federations: who is noticed gets nothing; both sides want one number."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import mean
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.defender import Defender
from benchmark.tuning.federated_game import Answer, FederatedGame
from benchmark.tuning.federations import UNATTACKED, UNDEFENDED, Federations, SeedScores
from benchmark.tuning.problem import Evaluation, FinishedTrial, Strategy
from benchmark.tuning.race import Response, ResponseSearch
from tests.support.running import TINY
from tests.support.tuning_toy import here

LOUD: Strategy = ("attack=boosted",)
QUIET: Strategy = ("attack=norm_bounded", "attack.norm_bound=0.05")
WORSE: Strategy = ("attack=norm_bounded", "attack.norm_bound=0.1")
DEFENSE = ("defense=norm_clip", "defense.norm_bound=0.5")


def score(main: Sequence[float], backdoor: Sequence[float], *diverged: int) -> SeedScores:
    return SeedScores(dict(enumerate(backdoor)), {}, dict(enumerate(main)), list(diverged))


@dataclass(frozen=True)
class Told(Federations):
    """Federations whose outcomes are told, by their overrides."""

    outcomes: dict[Strategy, SeedScores] = field(default_factory=dict)

    def score(self, chosen: Sequence[str], seeds: Sequence[int]) -> SeedScores:
        return self.outcomes[tuple(chosen)]


HONEST = {(*UNDEFENDED, *UNATTACKED): score([0.90, 0.92], [0.0, 0.0])}
OUTCOMES = {
    **HONEST,
    (*DEFENSE, *UNATTACKED): score([0.89, 0.91], [0.0, 0.0]),
    # Three points below the defense without attack; the quiet ones one point and two.
    (*DEFENSE, *LOUD): score([0.86, 0.88], [1.0, 0.9]),
    (*DEFENSE, *QUIET): score([0.88, 0.90], [0.1, 0.3]),
    (*DEFENSE, *WORSE): score([0.87, 0.892], [0.4, 0.2]),
}


def answer(outcomes: dict[Strategy, SeedScores], *attacks: Strategy) -> Answer:
    federations = Told((), here(Path()), outcomes=outcomes)
    problem = Answer.against(attacks, ["defense=norm_clip"], [0, 1], here(Path()))
    return replace(problem, federations=federations)


def test_who_is_noticed_gets_nothing_and_need_not_be_withstood() -> None:
    outcome = answer(OUTCOMES, LOUD, QUIET, WORSE).evaluate(DEFENSE)
    assert outcome.values == (pytest.approx(0.3),)
    assert outcome.facts["against"] == "attack=norm_bounded attack.norm_bound=0.1"
    # It is the defense that costs, a point, and not what attacks do.
    assert outcome.constraints["main_accuracy"] == pytest.approx(0.01 - 0.05)
    assert outcome.facts["main_accuracy"] == pytest.approx(0.90)
    noticed = answer(OUTCOMES, LOUD).evaluate(DEFENSE)
    assert noticed.values == (0.0,)


def test_a_study_of_defenses_counts_it_in_full() -> None:
    problem = answer(OUTCOMES, LOUD, QUIET)
    strict = Defender(problem.federations, (0, 1), problem.space, problem.attacks)
    outcome = strict.evaluate(DEFENSE)
    assert outcome.values == (pytest.approx(0.95),)
    assert outcome.constraints["main_accuracy"] == pytest.approx(0.04 - 0.05)


def test_a_defense_that_costs_too_much_is_none() -> None:
    costly = OUTCOMES | {(*DEFENSE, *UNATTACKED): score([0.84, 0.86], [0.0, 0.0])}
    outcome = answer(costly, LOUD, QUIET).evaluate(DEFENSE)
    assert outcome.constraints["main_accuracy"] == pytest.approx(0.06 - 0.05)
    # Beside such a model nobody stands out.
    assert outcome.values == (pytest.approx(0.95),)


def test_an_attack_that_breaks_the_model_is_noticed_and_a_defense_that_does_is_out() -> None:
    broken = score([0.0, 0.9], [0.0, 0.5], 0)
    outcome = answer(OUTCOMES | {(*DEFENSE, *LOUD): broken}, LOUD).evaluate(DEFENSE)
    assert outcome.values == (0.0,)
    assert outcome.constraints["diverged"] == 0
    outcome = answer(OUTCOMES | {(*DEFENSE, *UNATTACKED): broken}, LOUD).evaluate(DEFENSE)
    assert outcome.constraints["diverged"] == 1


def test_it_is_what_the_game_pays(workplace: Path) -> None:
    """On real federations: the worst case of a search is the payoff of the strongest attack."""
    federations = Federations((*TINY, "federation.clients_per_round=10"), here())
    attacks = (("attack=boosted", "attack.epochs=2"), QUIET)
    game = FederatedGame(federations, (5, 6), (0, 1), 2, lambda search, problem: [])
    problem = game.defender(attacks)
    assert isinstance(problem, Answer)
    payoffs = [game.payoff(attack, DEFENSE) for attack in attacks]
    assert payoffs[0] == {0: 0.0, 1: 0.0}
    (judged,) = problem.judge([DEFENSE], (0, 1))
    assert judged.backdoor == max(payoffs, key=lambda payoff: sum(payoff.values()))
    assert judged.against == QUIET
    assert problem.describe()["problem"] == "answer"


LOUDER: Strategy = ("attack=boosted", "attack.epochs=2")
QUIETER: Strategy = ("attack=norm_bounded", "attack.norm_bound=0.03", "attack.rounds=1")


def test_who_is_noticed_gets_nothing_and_is_no_answer(workplace: Path) -> None:
    asked: list[tuple[ResponseSearch, Attacker | Answer]] = []

    def run(search: ResponseSearch, problem: Attacker | Answer) -> Sequence[FinishedTrial]:
        asked.append((search, problem))
        settings = [(LOUDER, 0.9, 0.0), (QUIETER, 0.3, 0.0), (("attack=boosted",), 0.99, 0.1)]
        return [
            FinishedTrial(n, setting, Evaluation((value,), {"main_accuracy": missed}, {}), None)
            for n, (setting, value, missed) in enumerate(settings)
        ]

    overrides = (*TINY, "federation.clients_per_round=10")
    federations = Federations(overrides, here())
    game = FederatedGame(federations, (5, 6), (0, 1), 2, run)
    loud, quiet = game.attacker(DEFENSE).judge([LOUDER, QUIETER], (0, 1))
    assert mean(loud.cost) > TOLERANCE >= mean(quiet.cost)
    assert mean(loud.backdoor) > 0
    assert game.payoff(LOUDER, DEFENSE) == {0: 0.0, 1: 0.0}
    assert game.payoff(QUIETER, DEFENSE) == quiet.backdoor
    assert game.cost(LOUDER, DEFENSE) == loud.cost

    search = ResponseSearch("1-attack", known=(QUIETER,))
    assert game.best_attack(DEFENSE, search) == Response(QUIETER, 0.3)
    assert replace(game, best=1).best_attack(DEFENSE, search) == Response(None, None)
    (told, problem), *_ = asked
    assert told == search
    assert problem.federations.overrides == (*overrides, *DEFENSE)
    assert (problem.seeds, problem.earlier) == ((5, 6), (QUIETER,))
    assert "earlier 1" not in problem.known()
