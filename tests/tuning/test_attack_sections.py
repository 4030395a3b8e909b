"""What is said of a study: values on fresh seeds, never the best of many."""

import json
from dataclasses import replace

import pytest

from benchmark.report.numbers import NOTHING
from benchmark.results.statistics import Estimate
from benchmark.tuning.attack_sections import AttackReport
from benchmark.tuning.problem import Evaluation, FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation, best
from tests.support.searches import markdown


def tried(
    number: int, value: float, cost: float, name: str, known: str | None = None
) -> FinishedTrial:
    return FinishedTrial(
        number,
        (f"attack={name}",),
        Evaluation((value,), {"main_accuracy": cost}, {}),
        known,
        steps=10,
    )


def test_the_best_are_feasible_and_different() -> None:
    trials = [
        tried(0, 0.5, 0.0, "a"),
        tried(1, 0.9, 0.001, "b"),
        tried(2, 0.7, -0.1, "c"),
        tried(3, 0.7, -0.1, "d"),
        tried(4, 0.7, -0.1, "c"),
        tried(5, 0.1, -0.1, "e"),
    ]
    assert [t.number for t in best(trials, 3, ["maximize"])] == [2, 3, 0]
    assert [t.number for t in best(trials, 9, ["maximize"])] == [2, 3, 0, 5]
    assert best(trials[1:2], 3, ["maximize"]) == []


def again(
    name: str, backdoor: list[float], cost: list[float], trial: int | None = None
) -> Reevaluated:
    backdoor_by, held_out, cost_by = (
        dict(zip((1000, 1001, 1002), x, strict=True))
        for x in (backdoor, [x / 2 for x in backdoor], cost)
    )
    return Reevaluated(
        backdoor_by,
        cost_by,
        held_out=held_out,
        overrides=(f"attack={name}",),
        trial=trial,
        found=1.0,
    )


FREE, DEAR = [0.0, 0.01, -0.01], [0.05, 0.02, 0.01]


def test_the_winner_is_found_on_the_tuning_seeds_and_the_fixed_on_the_fresh() -> None:
    first = again("found-first", [1.0, 1.0, 1.0], DEAR, 4)
    second = again("found-second", [0.5, 0.7, 0.6], FREE, 2)
    third = again("found-third", [0.9, 0.9, 0.9], FREE, 7)
    fixed = [again("x", [0.1, 0.1, 0.1], FREE), again("y", [0.2, 0.5, 0.2], FREE)]
    result = Reevaluation([1000, 1001, 1002], [*fixed, again("z", [1, 1, 1], DEAR)], [])
    assert result.winner is None
    assert result.gain() is None
    result = Reevaluation(result.seeds, result.fixed, [first, second, third])
    assert result.winner is second
    assert result.strongest_fixed is fixed[1]
    # 0.3, 0.2 and 0.4, seed by seed; t(0.975, 2) = 4.303.
    assert result.gain() == Estimate(
        pytest.approx(0.3), pytest.approx(4.303 * 0.1 / 3**0.5, 1e-3), 3
    )


def report(candidates: list[Reevaluated], fixed: list[Reevaluated]) -> AttackReport:
    trials = [tried(n, 0.1 * n, 0.0, f"a{n}") for n in range(5)]
    trials[0] = replace(trials[0], pruned=True, steps=7)
    configuration = {"federation": {"rounds": 5}}
    described = {"sampler": "tpe", "seeds": [0, 1], "configuration": configuration}
    result = Reevaluation([1000, 1001, 1002], fixed, candidates)
    return AttackReport(
        "s", "sqlite:///t.db", ("defense=mean", "data.path=a b"), described, trials, result
    )


def test_a_report_never_gives_the_maximum_as_the_result() -> None:
    winner = again("tuned", [0.5, 0.7, 0.6], FREE, 2)
    made = report([winner], [again("fixed", [0.2, 0.5, 0.2], FREE)])
    assert made.verdict() == (
        "The tuned attack reaches 60.0 ± 24.8 %, "
        "+30.0 ± 24.8 points beside the strongest fixed attack."
    )
    text = markdown(made)
    assert "5 trials (tpe) of 2 federations each" in text
    assert "1 were pruned, so it took 10 federations and 47 rounds; 4 kept main accuracy" in text
    kept = "+0.0 ± 2.5 | yes, at the gate |"
    assert f"| **trial 2**: `attack=tuned` | 100.0 | 60.0 ± 24.8 | 30.0 ± 12.4 | {kept}" in text
    wide = f"30.0 (0{NOTHING}73.0) | 15.0 (0{NOTHING}36.5)"
    assert f"| fixed: `attack=fixed` | 100.0 | {wide} | {kept}" in text
    command = (
        "python -m benchmark run defense=mean 'data.path=a b' federation.measured_on=test "
        "attack=tuned seed=1000"
    )
    assert command in text
    assert made.plain()["command"] == command
    assert json.loads(json.dumps(made.plain()))["gain"]["n"] == 3


def test_a_report_says_that_nothing_was_found() -> None:
    fixed = [again("fixed", [0.2, 0.5, 0.2], DEAR)]
    assert "No trial kept main accuracy" in markdown(report([], fixed))
    dear = report([again("tuned", [1, 1, 1], DEAR, 1)], fixed)
    assert "None of the best 1 trials kept main accuracy on fresh seeds" in markdown(dear)
    assert dear.command is None
    alone = report([again("tuned", [1, 1, 1], FREE, 1)], fixed)
    assert "no fixed attack keeps main accuracy" in markdown(alone)
