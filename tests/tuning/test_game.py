"""The race's game on federations: who is noticed gets nothing, and is no answer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import mean
from benchmark.tuning.answer import Answer
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.federated_game import FederatedGame
from benchmark.tuning.federations import Federations
from benchmark.tuning.game import Response, Search, Strategy
from benchmark.tuning.problem import Outcome, Tried
from tests.support.running import TINY

LOUD: Strategy = ("attack=boosted", "attack.epochs=2")
QUIET: Strategy = ("attack=norm_bounded", "attack.norm_bound=0.03", "attack.rounds=1")
DEFENSE: Strategy = ("defense=norm_clip", "defense.norm_bound=0.5")


def test_who_is_noticed_gets_nothing_and_is_no_answer(workplace: Path) -> None:
    asked: list[tuple[Search, Attacker | Answer]] = []

    def run(search: Search, problem: Attacker | Answer) -> Sequence[Tried]:
        asked.append((search, problem))
        settings = [(LOUD, 0.9, 0.0), (QUIET, 0.3, 0.0), (("attack=boosted",), 0.99, 0.1)]
        return [
            Tried(n, setting, Outcome((value,), {"main_accuracy": missed}, {}), None)
            for n, (setting, value, missed) in enumerate(settings)
        ]

    overrides = (*TINY, "federation.clients_per_round=10")
    federations = Federations(overrides, Path("results"), lambda event: None)
    game = FederatedGame(federations, (5, 6), (0, 1), 2, run)
    loud, quiet = (game.attacker(DEFENSE).judge(attack, (0, 1)) for attack in (LOUD, QUIET))
    assert mean(loud.cost) > TOLERANCE >= mean(quiet.cost)
    assert mean(loud.backdoor) > 0
    assert game.payoff(LOUD, DEFENSE) == {0: 0.0, 1: 0.0}
    assert game.payoff(QUIET, DEFENSE) == quiet.backdoor
    assert game.cost(LOUD, DEFENSE) == loud.cost

    search = Search("1-attack", known=(QUIET,))
    assert game.best_attack(DEFENSE, search) == Response(QUIET, 0.3)
    assert replace(game, best=1).best_attack(DEFENSE, search) == Response(None, None)
    (told, problem), *_ = asked
    assert told == search
    assert problem.federations.overrides == (*overrides, *DEFENSE)
    assert (problem.seeds, problem.earlier) == ((5, 6), (QUIET,))
    assert "earlier 1" not in problem.known()
