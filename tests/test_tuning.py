"""Studies: what is tried, in what order, and what survives a stop."""

import multiprocessing
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from benchmark.errors import UserError
from benchmark.tuning import storage, study
from benchmark.tuning.owners import OWNER
from benchmark.tuning.problem import Outcome, Report, Tried
from benchmark.tuning.space import Choices, Range, Searched, Space
from benchmark.tuning.study import Study
from tests.tuning_toy import SPACE, Place, Toy, place_in


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.05)


def fields(trials: Sequence[Tried]) -> list[tuple[str, ...]]:
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
        assert trial.outcome == Outcome((x,), {"bound": x - 4}, {"x": x})
        assert trial.feasible == (x <= 4)


def test_the_number_is_of_finished_trials_in_total(place: Place) -> None:
    assert len(place.run(3)) == 3
    problem = Toy()
    assert len(place.run(3, problem)) == 3
    assert problem.asked == []
    told: list[Tried] = []
    five = place.study(problem).run(5, told.append)
    assert [trial.number for trial in five] == [0, 1, 2, 3, 4]
    assert told == five[3:]
    assert len(problem.asked) == 2
    # A stop in between changes no draw.
    assert fields(Place(place.folder).run(5, name="at once")) == fields(five)
    place.is_sound(5)


@pytest.mark.parametrize("sampler", study.SAMPLERS)
def test_draws_follow_from_seed_and_number(place: Place, sampler: str) -> None:
    one = fields(place.run(6, name="one", sampler=sampler))
    assert fields(place.run(6, name="again", sampler=sampler)) == one
    other = fields(place.run(6, name="other", sampler=sampler, seed=1))
    assert other[:2] == one[:2]
    assert not set(other[2:]) & set(one[2:])
    assert len(set(one)) == 6


@pytest.mark.parametrize("sampler", study.SAMPLERS)
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
    tpe, random = (place.run(40, name=s, sampler=s)[20:] for s in study.SAMPLERS)

    def good(trials: Sequence[Tried]) -> int:
        return sum(trial.feasible and trial.value > 2 for trial in trials)

    assert good(tpe) > 2 * good(random)
    assert sum(not trial.feasible for trial in tpe) < sum(not trial.feasible for trial in random)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, UserError])
@pytest.mark.parametrize("at", [1, 4])
def test_what_stops_a_trial_does_not_lose_it(
    place: Place, error: type[BaseException], at: int
) -> None:
    undisturbed = fields(Place(place.folder).run(6, name="undisturbed"))

    def stop(number: int) -> None:
        if number == at:
            raise error

    problem = Toy(before=stop)
    with pytest.raises(error):
        place.run(6, problem)
    tried = place.run(6)
    place.is_sound(6)
    assert problem.asked[-1] in fields(tried)
    assert fields(tried)[: at - 1] == undisturbed[: at - 1]
    assert sorted(str(trial.known) for trial in tried) == ["None"] * 4 + ["narrow", "wide"]


@pytest.mark.parametrize("beat", [True, False])
def test_a_trial_whose_process_died_is_run_again(place: Place, impatient: None, beat: bool) -> None:
    """Died before its first heartbeat, or after it."""
    place.run(3)
    opened = place.study()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dead = opened._study.ask()
    chosen = SPACE.suggest(dead)
    if beat:
        opened._storage.record_heartbeat(dead._trial_id)
    tried = place.run(5)
    place.is_sound(5)
    assert place.trials()[dead.number].state == TrialState.FAIL
    assert tuple(chosen) in fields(tried)
    assert len(set(fields(tried))) == 5


def test_a_trial_that_was_given_up_though_alive_counts_once(place: Place) -> None:
    def give_up(number: int) -> None:
        if number != 3:
            return
        # What another process does that sees no heartbeat.
        other = optuna.load_study(study_name="toy", storage=place.url)
        (running,) = other.get_trials(states=(TrialState.RUNNING,))
        other._storage.set_trial_state_values(running._trial_id, TrialState.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            RetryHeartbeatStaleTrialCallback()(other, running)

    problem = Toy(before=give_up)
    tried = place.run(5, problem)
    place.is_sound(5)
    assert len(problem.asked) == 6
    assert problem.asked[2] == problem.asked[3]
    assert len(set(fields(tried))) == 5


@pytest.mark.parametrize(
    "pruner",
    [p if p == "median" else pytest.param(p, marks=pytest.mark.slow) for p in study.PRUNERS],
)
def test_hopeless_trials_are_pruned_and_count_as_finished(place: Place, pruner: str) -> None:
    problem, told = Toy(steps=8), list[Tried]()
    opened = place.study(problem, pruner=pruner, sampler="random")
    tried = opened.run(24, told.append)
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
        assert not [t for t in pruned if t.number < 10]
        middle = [t.value for t in tried if t.feasible and t.number < 10]
        assert all(t.outcome.values[0] < max(middle) for t in pruned)
        # An infeasible trial's value says nothing: those up to 4 are held against such.
        assert any(2 < t.value < 4 for t in tried if t.number > 12)
    assert [t.number for t in opened.finished()] == list(range(24))


def test_a_front_is_never_pruned(place: Place) -> None:
    @dataclass
    class Both(Toy):
        def evaluate(self, chosen: Sequence[str], report: Report) -> Outcome:
            x = super().evaluate(chosen, report).values[0]
            return Outcome((x, -x), {}, {})

    problem = Both(directions=("maximize", "minimize"))
    tried = place.study(problem, pruner="median", sampler="random").run(15, lambda trial: None)
    assert len(tried) == 15


def test_no_trial_begins_after_the_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]

    def pass_a_second(number: int) -> None:
        clock[0] += 1

    monkeypatch.setattr(study.time, "time", lambda: clock[0])
    problem = Toy(before=pass_a_second)
    tried = place.study(problem).run(5, lambda trial: None, until=1001.5)
    assert len(tried) == 2
    assert place.study(problem).run(5, lambda trial: None, until=1002.0) == tried


def test_the_trial_of_a_dead_process_is_tried_again_at_once(place: Place) -> None:
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=die_in_the_third, args=(place.folder,))
    worker.start()
    worker.join()
    assert worker.exitcode == 1
    (dead,) = (t for t in place.trials() if t.state == TrialState.RUNNING)
    tried = place.run(4)
    place.is_sound(4)
    assert dead.user_attrs[OWNER] not in [t.user_attrs[OWNER] for t in place.trials()[3:]]
    assert tuple(dead.user_attrs["overrides"]) in fields(tried)


def test_a_kill_between_a_trials_end_and_its_repetition_loses_nothing(place: Place) -> None:
    opened = place.study()
    opened.run(3, lambda trial: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = opened._study.ask()
        chosen = SPACE.suggest(stopped)
        opened._study.tell(stopped, state=TrialState.FAIL)
    tried = place.run(5)
    place.is_sound(5)
    assert tuple(chosen) in fields(tried)


def test_of_two_repetitions_one_gives_way_though_the_other_is_stopped_again(place: Place) -> None:
    opened = place.study()
    opened.run(2, lambda trial: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = opened._study.ask()
        chosen = SPACE.suggest(stopped)
        opened._study.tell(stopped, state=TrialState.FAIL)
        for _ in range(2):
            storage.Again()(opened._study, opened._study.trials[stopped.number])
        again = opened._study.ask()
        assert SPACE.suggest(again) == chosen
        opened._study.tell(again, state=TrialState.FAIL)
    tried = place.run(4)
    place.is_sound(4)
    assert fields(tried).count(tuple(chosen)) == 1


def die_in_the_third(folder: Path) -> None:
    Place(folder).run(4, Toy(before=lambda number: os._exit(1) if number == 3 else None))


def work(folder: Path, trials: int) -> None:
    Place(folder).run(trials)


@pytest.mark.timeout(120)
def test_two_processes_on_one_study(place: Place) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(place.folder, 12)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    place.is_sound(12)
    tried = place.run(12)
    assert len(set(fields(tried))) == 12
    assert sorted(str(trial.known) for trial in tried) == ["None"] * 10 + ["narrow", "wide"]


def test_the_last_trial_is_run_by_one(place: Place) -> None:
    """Another process takes it between the look and the claim."""
    place.run(3)
    opened, problem = place.study(late := Toy()), late
    waiting = iter([place.study()])
    claimed = partial(next, waiting, None)

    def look(*states: Any) -> list[optuna.trial.FrozenTrial]:
        found = Study._in(opened, *states)
        if states == (TrialState.RUNNING,) and (other := claimed()):
            other.run(4, lambda trial: None)
        return found

    opened._in = look  # type: ignore[method-assign]
    assert len(opened.run(4, lambda trial: None)) == 4
    assert problem.asked == []
    place.is_sound(4)
