"""A search that is stopped, whole or a worker of it, and run again ends as if nothing had happened.

``KILLS=10`` has ten stops of each kind, at moments drawn from a seed, instead of one.
"""

import glob
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from benchmark.tuning.trial import AGAIN, SURPLUS
from tests.run.test_kill_resume import Place
from tests.support.running import TINY
from tests.support.stopping import (
    Program,
    command,
    descendants,
    finish,
    go_on,
    halt_when,
    interrupt,
    kill_group,
    parent,
    state,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("KILLS", "1"))
TRIALS = 4 + 4 * KILLS
COMMAND = [
    *("tune", "attack", *TINY),
    *("federation.rounds=20", "federation.client_lr=0.001"),
    *("defense=norm_clip", "defense.norm_bound=0.1"),
    *(f"--trials={TRIALS}", "--best=1", "--workers=2", "--name=killed"),
]
FOLDER = Path("results/tuning-killed")


class Tuner:
    """The command, what it keeps, and how many rounds it has run by its checkpoints."""

    def __init__(self, folder: Path, package: Path):
        self.place = Place(folder, package)
        self.folder = folder

    def start(self) -> Program:
        return self.place.start(*COMMAND)

    def records(self) -> dict[str, tuple[int, int]]:
        paths = (self.folder / FOLDER / "records").glob("*.json")
        return {p.stem: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}

    def at_work(self) -> bool:
        """In the middle of a federation: a checkpoint is there and the record is not."""
        # Unlike pathlib's, this one takes a folder that goes meanwhile for none.
        return bool(glob.glob(f"{self.folder / FOLDER}/work/*/round-*.ckpt"))

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        url = f"sqlite:///{self.folder}/results/tuning.db"
        return optuna.load_study(study_name="killed", storage=url).trials

    def result(self) -> bytes:
        return (self.folder / FOLDER / "tuning.json").read_bytes()

    def stop_within(self, process: Program, source: random.Random, stop: str) -> None:
        """At a moment of the search: so many records more than now, and at work."""
        more = len(self.records()) + source.randrange(3)

        def workers() -> list[int]:
            return [pid for pid in descendants(process.pid) if is_worker(pid)]

        def moment() -> bool:
            at_work = len(self.records()) >= more and self.at_work()
            return at_work and (stop != "a worker" or bool(workers()))

        halt_when(moment, process)
        if stop == "all":
            kill_group(process)
        elif stop == "Ctrl-C":
            interrupt(process)
        else:
            os.kill(source.choice(workers()), signal.SIGKILL)
            go_on(process)


def is_worker(pid: int) -> bool:
    """Not the server that workers are forked from, nor Python's helper beside it."""
    return "forkserver" in command(parent(pid)) and state(pid) != "Z"


@pytest.fixture
def tuner(workplace: Path, package: Path) -> Iterator[Tuner]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tuner = Tuner(workplace, package)
    yield tuner
    tuner.place.clear_up()


def ended_well(tuner: Tuner) -> None:
    """As many trials as asked, none lost, none twice."""
    trials = tuner.trials()
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    stopped = [
        t.number for t in trials if t.state == TrialState.FAIL and SURPLUS not in t.user_attrs
    ]
    assert len(finished) == TRIALS
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    repeated = [t for t in trials if AGAIN in t.user_attrs and SURPLUS not in t.user_attrs]
    assert sorted(t.user_attrs[AGAIN] for t in repeated) == stopped
    for trial in repeated:
        assert trials[trial.user_attrs[AGAIN]].params.items() <= trial.params.items()
    overrides = [tuple(t.user_attrs["overrides"]) for t in finished]
    assert len(set(overrides)) == TRIALS
    found = json.loads(tuner.result())
    assert found["budget"]["trials"] == TRIALS
    left = [p.name for p in (tuner.folder / FOLDER).rglob("*") if p.name.startswith(".")]
    assert left == []
    assert not tuner.at_work()


def test_a_search_that_is_stopped_at_any_moment_loses_nothing(tuner: Tuner) -> None:
    source = random.Random("stops")
    done: dict[str, tuple[int, int]] = {}
    process = tuner.start()
    for stop in KILLS * ("a worker", "Ctrl-C", "all"):
        tuner.stop_within(process, source, stop)
        # What was finished before is not run again.
        assert done.items() <= tuner.records().items()
        done = tuner.records()
        if stop == "Ctrl-C":
            assert not [t for t in tuner.trials() if t.state == TrialState.RUNNING]
        if stop != "a worker":
            process = tuner.start()
    assert "python -m benchmark run" in finish(process)
    assert done.items() <= tuner.records().items()
    ended_well(tuner)
    result, trials = tuner.result(), len(tuner.trials())
    finish(tuner.start())
    assert tuner.result() == result
    assert len(tuner.trials()) == trials
