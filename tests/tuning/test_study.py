"""Studies: what is tried, in what order, and what survives a stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.config.search_space import Choices, Range, Searched, Space
from benchmark.tuning import ask_tell
from benchmark.tuning.problem import PRUNERS, SAMPLERS, Evaluation, FinishedTrial
from benchmark.tuning.pruning import STARTUP_TRIALS
from tests.support.tuning_toy import Place, Toy, place_in


@pytest.fixture
def place(tmp_path: Path) -> Place:
    # The faster one; what a storage is to keep is in test_tuning_stopped.
    return place_in(tmp_path, "journal")


def fields(trials: Sequence[FinishedTrial]) -> list[tuple[str, ...]]:
    return [trial.overrides for trial in trials]


def test_known_settings_come_first_then_the_samplers(place: Place) -> None:
    problem = Toy()
    tried = place.run(5, problem)
    assert [trial.known for trial in tried] == ["wide", "narrow", None, None, None]
    assert tried[0].overrides == ("attack=wide", "attack.x=2.5", "attack.n=3")
    assert tried[1].overrides == ("attack=narrow", "attack.x=0.5", "attack.kind=null")
    assert fields(tried) == problem.asked
    assert len(set(problem.asked)) == 5
    for trial in tried:
        x = trial.value
        assert trial.outcome == Evaluation((x,), {"bound": x - 4}, {"x": x})
        assert trial.feasible == (x <= 4)


def test_the_number_is_of_finished_trials_in_total(place: Place) -> None:
    assert len(place.run(3)) == 3
    problem = Toy()
    assert len(place.run(3, problem)) == 3
    assert problem.asked == []
    told: list[FinishedTrial] = []
    five = place.study(problem).run(5, problem.at, told.append)
    assert [trial.number for trial in five] == [0, 1, 2, 3, 4]
    assert told == five[3:]
    assert len(problem.asked) == 2
    # A stop in between changes no draw.
    assert fields(place.run(5, name="at once")) == fields(five)
    place.is_sound(5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_follow_from_seed_and_number(place: Place, sampler: str) -> None:
    one = fields(place.run(6, name="one", sampler=sampler))
    assert fields(place.run(6, name="again", sampler=sampler)) == one
    other = fields(place.run(6, name="other", sampler=sampler, seed=1))
    assert other[:2] == one[:2]
    assert not set(other[2:]) & set(one[2:])
    assert len(set(one)) == 6


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("families", [("one",), ("one", "other")])
def test_no_setting_is_tried_twice_while_others_are_left(
    place: Place, sampler: str, families: tuple[str, ...]
) -> None:
    few: dict[str, Searched] = {"x": Choices((1, 2, 3), {}), "n": Range(1, 3, False, {})}
    problem = Toy(space=Space("attack", dict.fromkeys(families, few)), settings={})
    count = 9 * len(families)
    # The last setting of many may not come up in twenty draws.
    tried = place.run(count - 2, problem, sampler=sampler)
    assert len(set(fields(tried))) == count - 2
    # Where none is left, it ends all the same.
    assert len(place.run(count + 2, problem, sampler=sampler)) == count + 2


@pytest.mark.slow  # 80 trials
def test_the_parzen_estimator_learns_and_keeps_to_the_constraint(place: Place) -> None:
    tpe, random = (place.run(40, name=s, sampler=s)[20:] for s in SAMPLERS)

    def good(trials: Sequence[FinishedTrial]) -> int:
        return sum(trial.feasible and trial.value > 2 for trial in trials)

    assert good(tpe) > 2 * good(random)
    assert sum(not trial.feasible for trial in tpe) < sum(not trial.feasible for trial in random)


@pytest.mark.parametrize(
    "pruner",
    [p if p == "median" else pytest.param(p, marks=pytest.mark.slow) for p in PRUNERS],
)
def test_hopeless_trials_are_pruned_and_count_as_finished(place: Place, pruner: str) -> None:
    problem, told = Toy(steps=8), list[FinishedTrial]()
    opened = place.study(problem, pruner=pruner, sampler="random")
    tried = opened.run(24, problem.at, told.append)
    pruned = [trial for trial in opened.finished() if trial.pruned]
    assert len(tried) + len(pruned) == len(told) == 24
    assert bool(pruned) == (pruner != "none")
    assert not any(trial.feasible for trial in pruned)
    for trial in told:
        assert trial.steps == problem.reached[trial.overrides] + 1
        assert trial.pruned == (trial.steps < 8)
        # Nothing is known of a model that has learned nothing, nor is what all is held against.
        assert trial.steps > 1
        assert not (trial.pruned and trial.known)
    if pruner == "median":
        assert not [t for t in pruned if t.number < STARTUP_TRIALS]
        middle = [t.value for t in tried if t.feasible and t.number < STARTUP_TRIALS]
        assert all(t.outcome.values[0] < max(middle) for t in pruned)
        # An infeasible trial's value says nothing: those up to 4 are held against such.
        assert any(2 < t.value < 4 for t in tried if t.number > 12)
    assert [t.number for t in opened.finished()] == list(range(24))


def test_a_front_is_never_pruned(place: Place) -> None:
    @dataclass
    class Both(Toy):
        def evaluate(self, chosen: Sequence[str]) -> Evaluation:
            x = super().evaluate(chosen).values[0]
            return Evaluation((x, -x), {}, {})

    problem = Both(directions=("maximize", "minimize"))
    opened = place.study(problem, pruner="median", sampler="random")
    tried = opened.run(15, problem.at, lambda trial: None)
    assert len(tried) == 15


def test_no_trial_begins_after_the_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]

    def pass_a_second(number: int) -> None:
        clock[0] += 1

    monkeypatch.setattr(ask_tell.time, "time", lambda: clock[0])
    problem = Toy(before=pass_a_second)
    tried = place.study(problem).run(5, problem.at, lambda trial: None, until=1001.5)
    assert len(tried) == 2
    assert place.study(problem).run(5, problem.at, lambda trial: None, until=1002.0) == tried
