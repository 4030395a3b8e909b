"""The attacker's problem: what is maximized, under which constraint, and what makes it another."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import named
from benchmark.config.plugins import available
from benchmark.federation.contract import task_needed
from benchmark.results.gates import TOLERANCE
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Finished, Round, Started
from benchmark.run.record import Record
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.federations import UNATTACKED, SeedScores
from benchmark.tuning.reevaluation import reevaluate
from benchmark.utils.errors import UserError
from tests.support.running import TINY
from tests.support.tuning_toy import evaluated, here

HARMLESS = ("defense=norm_clip", "defense.norm_bound=0.1")


def attacker(*overrides: str, watch: Any = lambda event: None) -> Attacker:
    return Attacker.against([*TINY, *overrides], [0, 1], here(watch=watch))


def record(*overrides: str) -> Record:
    cell = Cell.of([*TINY, "federation.measured_on=validation", *overrides])
    return Record.read(cell.record_path(Path("results")))


def test_the_objective_and_the_constraint_are_those_of_the_records(workplace: Path) -> None:
    defense = ("defense=norm_clip", "defense.norm_bound=0.5")
    problem, attack = attacker(*defense), ["attack=boosted", "attack.epochs=2"]
    outcome = evaluated(problem, attack)
    attacked, honest = (
        [record(*defense, *chosen, f"seed={seed}").summary for seed in (0, 1)]
        for chosen in (attack, UNATTACKED)
    )

    def over_seeds(summaries: Any, metric: str) -> float:
        return statistics.fmean(summary[metric].last_fifth for summary in summaries)

    main = over_seeds(attacked, "main_accuracy")
    cost = over_seeds(honest, "main_accuracy") - main
    assert outcome.values == (pytest.approx(over_seeds(attacked, "backdoor_in_sample")),)
    assert outcome.constraints == {"main_accuracy": pytest.approx(cost - 0.02)}
    assert outcome.facts == {"main_accuracy": pytest.approx(main), "diverged": []}
    assert cost > TOLERANCE
    assert len(list(Path("results/records").iterdir())) == 4


def test_an_attack_that_breaks_the_model_is_worth_nothing(workplace: Path) -> None:
    told: list[Event] = []
    problem = attacker("federation.client_lr=1e30", watch=told.append)
    problem.federations.run([["attack=boosted"]], [0])
    score = problem.federations.score(["attack=boosted"], [0])
    assert score == SeedScores({0: 0.0}, {0: 0.0}, {0: 0.0}, [0])
    assert isinstance(told[-1], Finished)
    assert told[-1].record.diverged
    # Beside a model that breaks by itself nothing would cost anything.
    with pytest.raises(UserError, match="attack=none, seed 0: the model diverges"):
        problem.prepare()
    # It diverges again, so it is not run again.
    seen = len(told)
    problem.federations.run([["attack=boosted"]], [0])
    assert not any(isinstance(event, Started | Round) for event in told[seen:])


def test_the_space_is_of_attacks_that_compromise_somebody() -> None:
    problem = attacker()
    every = {name: named("attack", name) for name in available("attack")}
    plain = {x for x, attack in every.items() if attack.active and task_needed(attack) is None}
    assert set(problem.space.families) == {x for x in plain if every[x].goal == "backdoor"}
    assert problem.known().keys() == problem.space.families.keys()
    # What stands outside of the ranges is no setting of the space.
    assert "norm_bounded" not in attacker("defense=norm_clip", "defense.norm_bound=99").known()


def test_what_makes_it_another_study(workplace: Path) -> None:
    same = attacker(*HARMLESS).describe()
    assert json.loads(json.dumps(same))["configuration"]["defense"]["norm_bound"] == 0.1
    for change in ("engine.workers=2", "federation.checkpoint_every=2", "tracking=mlflow"):
        assert attacker(*HARMLESS, change).describe() == same
    for change in ("defense.norm_bound=1", "federation.rounds=4", "task.num_tasks=3"):
        assert attacker(*HARMLESS, change).describe() != same
    assert Attacker.against([*TINY, *HARMLESS], [0, 1, 2], here()).describe() != same


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("attack=boosted", ["'attack=boosted': the attack is what is tuned"]),
        ("attack.epochs=2", ["'attack.epochs=2': the attack is what is tuned"]),
        ("seed=1", ["'seed=1'", "--seeds"]),
        ("federation.measured_on=test", ["a search is on the validation half of the users"]),
    ],
)
def test_what_the_study_chooses_is_not_given(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        attacker(override)
    for word in words:
        assert word in str(caught.value)


def test_the_reevaluation_is_on_the_other_half_of_the_users(workplace: Path) -> None:
    problem = attacker(*HARMLESS)
    again = reevaluate(problem, [], [], [1000, 1001])
    records = [Record.read(path) for path in Path("results/records").iterdir()]
    assert {r.config["federation"]["measured_on"] for r in records} == {"test"}
    assert {r.seed for r in records} == {1000, 1001}
    boosted = again.fixed[0]
    expected = {
        r.seed: r.summary["backdoor_held_out"].last_fifth
        for r in records
        if r.config["attack"]["name"] == "boosted"
    }
    assert boosted.held_out == expected


def test_what_is_reached_so_far_is_not_told_in_the_first_quarter_of_a_federation() -> None:
    problem = attacker("federation.rounds=8")
    rounds: list[list[dict[str, float]]] = [[]]
    told = dict[int, float | None]()
    for step in range(16):
        if step == 8:
            rounds.append([])
        rounds[-1].append({"backdoor_in_sample": float(step)})
        told[step] = problem.so_far(rounds)
    assert [step for step, value in told.items() if value is None] == [0, 1, 8, 9]
    # A fifth of 2 to 4 rounds is 1 round, of 6 to 8 it is 2.
    assert told[2] == 2.0
    assert told[7] == 6.5
    assert told[10] == (6.5 + 10) / 2
    assert told[15] == (6.5 + 14.5) / 2
    # One that diverged is worth nothing.
    assert problem.so_far([rounds[0][:7], rounds[1]]) == 14.5 / 2


def test_fresh_seeds_are_fresh(workplace: Path) -> None:
    problem = attacker(*HARMLESS)
    with pytest.raises(AssertionError):
        reevaluate(problem, [], [], [1, 2, 3])
