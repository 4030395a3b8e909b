"""Trials on an executor: what is told of rounds and reported, whoever dies or is stopped."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.run.executors.local import LocalExecutor
from benchmark.run.record import Record
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.study import Study
from benchmark.tuning.workplace import DEATHS, Workplace
from benchmark.utils.errors import UserError
from tests.run.test_local_executor import kill_worker
from tests.support.running import TINY, files, obstruct, tiny
from tests.support.tuning_toy import here, place_in

pytestmark = pytest.mark.usefixtures("few_choices")

ROUNDS = 5
OVERRIDES = (*TINY, f"federation.rounds={ROUNDS}", "federation.client_lr=0.001")


class Watching:
    """Does something at the first moment at which a round of an attacked seed was told."""

    def __init__(self, seed: int = -1, round: int = -1, do: Callable[[], None] = lambda: None):
        self.moment, self.do, self.events = (seed, round), do, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Round) or event.cell.config["attack"]["name"] == "none":
            return
        if (event.cell.seed, event.round) == self.moment:
            self.moment = (-1, -1)
            self.do()


def search(watch: Watching, trials: int = 2, name: str = "s") -> list[tuple[object, ...]]:
    """What was reported and reached."""
    problem = Attacker.against(OVERRIDES, [0, 1], here(Path(f"results-{name}"), watch))
    problem.prepare()
    study = Study(f"journal:///{name}.log", name, problem, "tpe", 0, "median")
    study.open()
    tried = study.run(trials, problem.federations.at, lambda trial: None)
    found = {t.number: t.intermediate_values for t in study.kept.trials}
    return [(t.overrides, t.outcome, t.steps, found[t.number]) for t in tried]


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def undisturbed(workplace: Path) -> list[tuple[object, ...]]:
    place_in(workplace)
    found = search(Watching(), name="undisturbed")
    for *_, steps, reported in found:
        assert steps == 2 * ROUNDS
        # Nothing in the first quarter of a federation.
        assert list(reported) == [s for s in range(2 * ROUNDS) if s % ROUNDS >= 1]
    return found


def test_rounds_are_reported_once_whether_they_run_or_ran_before(
    undisturbed: list[tuple[object, ...]],
) -> None:
    killed = Watching(0, 2, kill_worker)
    assert search(killed, name="killed") == undisturbed
    # It is the worker that died, and not the trial, nor a federation.
    assert not any(isinstance(event, Failed) for event in killed.events)
    begun = [event.cell.id for event in killed.events if isinstance(event, Started)]
    # One twice, where the kill was not too late.
    assert len(set(begun)) == 2 + 2 * 2 >= len(begun) - 1
    for event in killed.events:
        if isinstance(event, Round) and event.earlier:
            told = event.earlier["backdoor_in_sample"]
            assert list(told.points()) == list(range(event.round))

    with pytest.raises(KeyboardInterrupt):
        search(Watching(1, 3, interrupt), name="stopped")
    again = Watching()
    # What was stopped comes after what was in line.
    assert sorted(search(again, name="stopped"), key=str) == sorted(undisturbed, key=str)
    ran = [e.cell.seed for e in again.events if isinstance(e, Started)]
    # What was finished is not run again, nor what was just before its end.
    assert ran in ([0, 1, 1], [0, 1])


def test_what_fails_ends_the_search_in_a_line_and_is_tried_again(workplace: Path) -> None:
    place_in(workplace)
    problem = Attacker.against(OVERRIDES, [0, 1], here(Path("results-s")))
    (cell, _) = problem.cells(["attack=boosted"])
    obstacle = obstruct(cell, Path("results-s"))
    with pytest.raises(UserError, match=rf"{cell.id} failed: IsADirectoryError"):
        search(Watching(), 1)
    assert "Traceback" in (Path("results-s/failures") / f"{cell.id}.txt").read_text()
    obstacle.rmdir()
    assert len(search(Watching(), 2)) == 2
    assert not list(Path("results-s/failures").iterdir())


def test_workers_that_die_time_and_again_end_the_search(workplace: Path) -> None:
    deaths = list[float]()

    def watch(event: Event) -> None:
        if isinstance(event, Started):
            kill_worker()
            deaths.append(time.monotonic())

    with pytest.raises(UserError, match="--workers 1: its worker died: signal SIGKILL"):
        here(watch=watch).finish([tiny()])
    assert len(deaths) == DEATHS + 1


def test_a_federation_that_is_given_up_leaves_nothing(workplace: Path) -> None:
    cell, other = tiny("federation.rounds=500"), tiny()
    executor, events = LocalExecutor(1), list[Event]()
    at = Workplace(Path("results"), executor, events.append)
    for event in at.run([cell, other]):
        if isinstance(event, Round) and event.cell.id == cell.id and event.round == 2:
            at.stop(cell)
            at.stop(cell)
    (stopped,) = (event for event in events if isinstance(event, Stopped))
    assert (stopped.cell.id, stopped.reason) == (cell.id, "pruned")
    assert isinstance(events[-1], Finished)
    assert {name for name in files(Path("results")) if cell.id in name} == set()


def test_two_trials_at_a_time(workplace: Path) -> None:
    """Each federation runs once, and trials that are the same share theirs."""
    place_in(workplace)
    problem = Attacker.against(
        [*OVERRIDES, "defense=norm_clip", "defense.norm_bound=0.1"],
        [0, 1],
        Workplace(Path("results"), LocalExecutor(2), watch := Watching()),
    )
    problem.prepare()
    study = Study("sqlite:///s.db", "s", problem, "tpe", 0, "median")
    study.open()
    tried = study.run(4, problem.federations.at, lambda trial: None)
    finished = [e.cell.id for e in watch.events if isinstance(e, Finished)]
    assert len(finished) == len(set(finished))
    assert len(study.finished()) == 4
    for trial in tried:
        assert trial.outcome == problem.evaluate(trial.overrides)
        for cell in problem.cells(trial.overrides):
            assert Record.read(cell.record_path(Path("results"))).cell in finished
