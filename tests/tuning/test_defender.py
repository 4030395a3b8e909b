"""The defender's problem: the worst of several attacks, at little cost, or a Pareto front."""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.plugins import available
from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.tuning.attacker import fixed_attacks, read_attack
from benchmark.tuning.defender import Defender
from benchmark.tuning.federations import UNATTACKED, UNDEFENDED
from benchmark.tuning.problem import Evaluation, FinishedTrial, Strategy
from benchmark.tuning.reevaluation import best, front, undominated
from benchmark.utils.errors import UserError
from tests.support.running import TINY
from tests.support.tuning_toy import evaluated, here

ATTACKS: list[Strategy] = [
    ("attack=norm_bounded", "attack.norm_bound=0.05"),
    ("attack=boosted", "attack.epochs=2"),
]


def defender(*overrides: str, attacks: Any = ATTACKS) -> Defender:
    return Defender.against(attacks, [*TINY, *overrides], [0, 1], here())


def over_seeds(metric: str, *chosen: str, half: str = "validation") -> float:
    cells = [
        Cell.of([*TINY, *chosen, f"federation.measured_on={half}", f"seed={s}"]) for s in (0, 1)
    ]
    records = [Record.read(cell.record_path(Path("results"))) for cell in cells]
    return statistics.fmean(r.summary[metric].last_fifth or 0 for r in records)


def test_the_objective_and_the_constraint_are_those_of_the_records(workplace: Path) -> None:
    problem, chosen = defender(), ["defense=norm_clip", "defense.norm_bound=0.5"]
    outcome = evaluated(problem, chosen)
    attacked = [over_seeds("backdoor_in_sample", *chosen, *attack) for attack in ATTACKS]
    main = [over_seeds("main_accuracy", *chosen, *a) for a in [UNATTACKED, *ATTACKS]]
    honest = over_seeds("main_accuracy", *UNDEFENDED, *UNATTACKED)
    # The second attack is the worst case, and costs most.
    assert attacked[1] > attacked[0]
    assert outcome.values == (pytest.approx(attacked[1]),)
    assert min(main) < main[0]
    cost = honest - min(main)
    assert outcome.constraints == {"main_accuracy": pytest.approx(cost - 0.05), "diverged": 0}
    assert outcome.facts == {
        "main_accuracy": pytest.approx(min(main)),
        "diverged": [],
        "against": "attack=boosted attack.epochs=2",
    }
    assert cost > 0.05
    records = set(Path("results/records").iterdir())
    assert len(records) == 2 * (1 + 3)
    # As a front the same federations give both values, and nothing but a diverged model is out.
    both = replace(problem, directions=("minimize", "maximize")).evaluate(chosen)
    assert both.values == (*outcome.values, outcome.facts["main_accuracy"])
    assert both.constraints == {"diverged": 0}
    assert set(Path("results/records").iterdir()) == records

    (judged,) = problem.judge([chosen], [0, 1])
    named = {"half": "test"}
    again = [over_seeds("backdoor_in_sample", *chosen, *a, **named) for a in ATTACKS]
    assert judged.against == ATTACKS[again.index(max(again))]
    assert judged.allowed == 0.05
    assert statistics.fmean(judged.backdoor.values()) == pytest.approx(max(again))
    honest = over_seeds("main_accuracy", *UNDEFENDED, *UNATTACKED, **named)
    main = [over_seeds("main_accuracy", *chosen, *a, **named) for a in [UNATTACKED, *ATTACKS]]
    assert statistics.fmean(judged.cost.values()) == pytest.approx(honest - min(main))


def test_a_defense_under_which_the_model_breaks_is_out(workplace: Path) -> None:
    problem = replace(defender(attacks=[("attack=boosted",)]), seeds=(0,))
    outcome = evaluated(problem, ["defense=weak_dp", "defense.noise_std=1e38"])
    assert outcome.facts["diverged"] == [0]
    assert outcome.constraints["diverged"] == 1


def test_the_space_is_of_all_defenses_or_of_those_that_are_named() -> None:
    problem = defender()
    # Three clients are too few for some.
    left_out = set(available("defense")) - problem.space.families.keys()
    assert {"krum", "bulyan"} <= left_out
    assert {"mean", "weak_dp", "median", "trimmed_mean"}.isdisjoint(left_out)
    assert problem.space.families["mean"] == {}
    assert problem.known().keys() == problem.space.families.keys()
    named = defender("defense=weak_dp", "defense=mean", "defense=weak_dp")
    assert list(named.space.families) == ["weak_dp", "mean"]
    assert named.federations.overrides == TINY
    assert list(named.known()) == ["weak_dp", "mean"]
    earlier = (("defense=weak_dp", "defense.norm_bound=0.25"), ("defense=weak_dp",))
    known = replace(named, earlier=earlier).known()
    assert known["earlier 1"]["defense.weak_dp.norm_bound"] == 0.25
    assert known["earlier 2"] == known["weak_dp"]


def test_what_makes_it_another_study(workplace: Path) -> None:
    same = defender().describe()
    assert json.loads(json.dumps(same)) == same
    assert defender("engine.workers=2").describe() == same
    for other in (
        defender("federation.rounds=4"),
        defender("defense=mean"),
        defender(attacks=ATTACKS[:1]),
        defender(attacks=[ATTACKS[0], ("attack=boosted", "attack.epochs=3")]),
        replace(defender(), directions=("minimize", "maximize")),
        replace(defender(), seeds=(0, 1, 2)),
    ):
        assert other.describe() != same
    # What was found before changes where the search begins, not what it is.
    assert replace(defender(), earlier=(("defense=mean",),)).describe() == same


def test_a_setting_that_is_none_here_is_told_before_it_runs(workplace: Path) -> None:
    problem = defender("defense=trimmed_mean")
    fits = problem.cells(["defense=trimmed_mean", "defense.assumed_compromised=1"])
    assert problem.refusal(fits) is None
    too_many = problem.cells(["defense=trimmed_mean", "defense.assumed_compromised=2"])
    assert "TrimmedMean needs 5 clients" in str(problem.refusal(too_many))


def test_the_attacks_are_all_that_compromise_somebody_or_those_that_are_given() -> None:
    assert ("attack=boosted",) in fixed_attacks()
    assert ("attack=none",) not in fixed_attacks()
    read = read_attack("attack=boosted  attack.epochs=2")
    assert read == ("attack=boosted", "attack.epochs=2")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("defense.norm_bound=1", ["'defense.norm_bound=1': the defense is what is tuned"]),
        ("attack=boosted", ["'attack=boosted'", "--against 'attack=boosted'"]),
        ("seed=1", ["'seed=1'", "--seeds"]),
        ("federation.measured_on=test", ["validation half"]),
    ],
)
def test_what_the_study_chooses_is_not_given(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        defender(override)
    for word in words:
        assert word in str(caught.value)


def tried(number: int, values: tuple[float, ...], name: str, missed: float = 0.0) -> FinishedTrial:
    return FinishedTrial(
        number, (f"defense={name}",), Evaluation(values, {"diverged": missed}, {}), None
    )


def test_a_front_is_what_nothing_dominates() -> None:
    both = ("minimize", "maximize")
    points = [(0.1, 0.5), (0.2, 0.9), (0.2, 0.8), (0.3, 0.9), (0.2, 0.9), (0.0, 0.1)]
    assert undominated(points, both) == [True, True, False, False, True, True]
    assert undominated(points, ("minimize", "minimize")) == [False] * 5 + [True]
    trials = [tried(n, point, f"d{n}") for n, point in enumerate(points)]
    assert [t.number for t in front(trials, both)] == [5, 0, 1, 4]
    again = [*trials, tried(6, (0.1, 0.5), "d0"), tried(7, (0.0, 1.0), "broken", 1.0)]
    assert [t.number for t in front(again, both)] == [5, 0, 1, 4]


def test_a_front_is_run_again_from_end_to_end() -> None:
    both = ("minimize", "maximize")
    found = [tried(n, (n / 10, n / 10), f"d{n}") for n in range(7)]
    numbers = [[t.number for t in best(found, count, both)] for count in (1, 2, 3, 7, 9)]
    assert numbers == [[0], [0, 6], [0, 3, 6], list(range(7)), list(range(7))]
