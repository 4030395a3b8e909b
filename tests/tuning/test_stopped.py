"""Studies: what survives a stop, and what two processes do to each other, in either storage."""

import os
import warnings
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from benchmark.run.executors.local import spawn
from benchmark.tuning import storage, study
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.stopped import is_dead, owner
from benchmark.tuning.study import Study
from benchmark.tuning.trial import OWNER
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import SPACE, Place, Toy, place_in


@pytest.fixture(params=["sqlite", "journal"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return place_in(tmp_path, request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.05)


def fields(trials: Sequence[FinishedTrial]) -> list[tuple[str, ...]]:
    return [trial.overrides for trial in trials]


@pytest.mark.parametrize(
    ("error", "at"), [(KeyboardInterrupt, 1), (MemoryError, 4), (UserError, 4)]
)
def test_what_stops_a_trial_does_not_lose_it(
    place: Place, error: type[BaseException], at: int
) -> None:
    undisturbed = fields(place.run(6, name="undisturbed"))

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
        other = optuna.load_study(study_name="toy", storage=storage.connect(place.url))
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


def test_the_trial_of_a_dead_process_is_tried_again_at_once(place: Place) -> None:
    worker, _ = spawn(die_in_the_third, place)
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


def die_in_the_third(connection: Connection, place: Place) -> None:
    place.run(4, Toy(before=lambda number: os._exit(1) if number == 3 else None))


def work(connection: Connection, place: Place, trials: int) -> None:
    place.run(trials)


@pytest.mark.timeout(120)
def test_two_processes_on_one_study(place: Place) -> None:
    workers = [spawn(work, place, 12)[0] for _ in range(2)]
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


def test_who_owns_a_trial_is_told_from_machines_of_the_same_name() -> None:
    machine, pid, start = owner().split()
    assert not is_dead(f"{machine} {pid} {start}")
    assert is_dead(f"{machine} {pid} {int(start) + 1}")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not is_dead(f"{machine.replace(boot, 'another')} {pid} {int(start) + 1}")


def test_a_repetition_passes_what_its_pruner_asks_anew(place: Place) -> None:
    opened = place.study()
    opened.run(2, lambda trial: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = opened.kept.ask()
        SPACE.suggest(stopped)
        stopped.storage.set_trial_system_attr(stopped._trial_id, "completed_rung_0", 0.5)
        opened.kept.tell(stopped, state=TrialState.FAIL)
    place.run(3)
    place.is_sound(3)
    repeated = place.trials()[stopped.number + 1]
    assert repeated.params == stopped.params
    assert "completed_rung_0" not in repeated.system_attrs
