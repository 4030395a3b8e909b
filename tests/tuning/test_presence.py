"""Studies: what survives a stop, and what two processes do to each other, in either storage."""

import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from benchmark.run.executors.local import spawn
from benchmark.tuning import ask_tell, presence, storage
from benchmark.tuning.presence import HEARTBEAT, Presence
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.trial import AGAIN, SURPLUS
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import SPACE, Place, Toy, place_in

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(params=["sqlite", "journal"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return place_in(tmp_path, request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(presence, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(ask_tell, "POLL_SECONDS", 0.05)


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
    dead = opened.kept.ask()
    chosen = SPACE.suggest(dead)
    if beat:
        Presence(opened.kept).beat(dead._trial_id)
    tried = place.run(5)
    place.is_sound(5)
    assert place.trials()[dead.number].state == TrialState.FAIL
    assert tuple(chosen) in fields(tried)
    assert len(set(fields(tried))) == 5


def test_a_trial_is_stale_by_the_clock_of_who_looks(place: Place) -> None:
    clock = [0.0]
    own, other = (Presence(place.study().kept, lambda: clock[0]) for _ in range(2))
    beaten, silent = (other.study.ask() for _ in range(2))

    def failed() -> list[int]:
        own.take_up([])
        return [t.number for t in place.trials() if t.state == TrialState.FAIL]

    seen = {}
    for at, beat in {0: True, 20: True, 31: False, 50: False, 51: False}.items():
        clock[0] = at
        if beat:
            other.beat(beaten._trial_id)
        seen[at] = failed()
    both = [beaten.number, silent.number]
    assert seen == {0: [], 20: [], 31: both[1:], 50: both[1:], 51: both}
    # Each is in line once more, whoever looks.
    other.take_up([])
    again = [t.user_attrs[AGAIN] for t in place.trials() if AGAIN in t.user_attrs]
    assert again == both[::-1]


def test_a_trial_that_takes_long_is_given_up_by_nobody(place: Place, impatient: None) -> None:
    beats = set[object]()

    def take_long(number: int) -> None:
        other = Presence(place.study().kept)
        for _ in range(15):
            time.sleep(0.02)
            other.take_up([])
            beats.update(t.system_attrs.get(HEARTBEAT) for t in place.trials())

    place.run(1, Toy(before=take_long))
    assert len(beats) > 3
    assert not [t for t in place.trials() if t.state == TrialState.FAIL]


def test_a_trial_that_was_given_up_though_alive_counts_once(place: Place) -> None:
    def give_up(number: int) -> None:
        if number != 3:
            return
        # What another process does that sees no heartbeat.
        other = optuna.load_study(study_name="toy", storage=storage.connect(place.url))
        (running,) = other.get_trials(states=(TrialState.RUNNING,))
        other._storage.set_trial_state_values(running._trial_id, TrialState.FAIL)
        Presence(other).take_up([])

    problem = Toy(before=give_up)
    tried = place.run(5, problem)
    place.is_sound(5)
    assert len(problem.asked) == 6
    assert problem.asked[2] == problem.asked[3]
    assert len(set(fields(tried))) == 5


def test_the_trial_of_a_process_that_died_is_tried_again(place: Place, impatient: None) -> None:
    worker, _ = spawn(die_in_the_third, place)
    worker.join()
    assert worker.exitcode == 1
    (dead,) = (t for t in place.trials() if t.state == TrialState.RUNNING)
    tried = place.run(4)
    place.is_sound(4)
    assert tuple(dead.user_attrs["overrides"]) in fields(tried)


def stopped(place: Place) -> tuple[optuna.Study, int, tuple[str, ...]]:
    """A study of which a trial was stopped: its number, and what it ran."""
    study = place.study().kept
    trial = study.ask()
    chosen = SPACE.suggest(trial)
    trial.storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 0.5)
    study.tell(trial, state=TrialState.FAIL)
    return study, trial.number, tuple(chosen)


def test_a_kill_between_a_trials_end_and_its_repetition_loses_nothing(place: Place) -> None:
    place.run(3)
    _, number, chosen = stopped(place)
    tried = place.run(5)
    place.is_sound(5)
    assert chosen in fields(tried)
    # What its pruner noted is noted anew.
    (again,) = (t for t in place.trials() if t.user_attrs.get(AGAIN) == number)
    assert "completed_rung_0" not in again.system_attrs


def test_of_two_repetitions_one_gives_way_though_the_other_is_stopped_again(place: Place) -> None:
    place.run(2)
    study, number, chosen = stopped(place)
    for _ in range(2):
        study.enqueue_trial(study.trials[number].params, {AGAIN: number})
    again = study.ask()
    assert tuple(SPACE.suggest(again)) == chosen
    study.tell(again, state=TrialState.FAIL)
    tried = place.run(4)
    place.is_sound(4)
    assert fields(tried).count(chosen) == 1
    assert [t.number for t in place.trials() if SURPLUS in t.user_attrs] == [number + 2]


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
