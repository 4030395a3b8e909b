"""A suite that is killed and started again ends as if nothing had happened.

Nothing here depends on time: all processes are halted while the test looks whether the moment is
there, and go on until it is.
"""

import glob
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmark.run.record import Record
from tests.support.running import TINY, environment, files
from tests.support.stopping import (
    Program,
    descendants,
    finish,
    gone,
    halt_when,
    interrupt,
    kill_group,
    kill_parent,
    terminate,
    wait_for,
)

pytestmark = pytest.mark.slow

ROUNDS = 20
PARAMS = """\
suite:
  name: smoke
  axes: {attack: [norm_bounded], defense: [mean, norm_clip, weak_dp]}
  seeds: [0]
"""


@dataclass(frozen=True)
class Place:
    """A working directory, and the copy of the package that runs in it."""

    folder: Path
    package: Path
    started: list[Program] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    def start(self, *arguments: str) -> Program:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *arguments],
            cwd=self.folder,
            env=environment(self.package),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.started.append(process)
        return process

    def clear_up(self) -> None:
        """Leave no program behind, halted perhaps, when a test fails."""
        for process in self.started:
            if process.poll() is None:
                kill_group(process)

    def suite(self, workers: int = 1) -> Program:
        (self.folder / "p.yaml").write_text(PARAMS)
        overrides = [*TINY, f"federation.rounds={ROUNDS}"]
        return self.start(
            "suite", "smoke", *overrides, "--params", "p.yaml", "--workers", str(workers)
        )

    def records(self) -> dict[str, Record]:
        return {p.stem: Record.read(p) for p in (self.results / "records").glob("*.json")}

    def identity(self) -> dict[str, tuple[int, int]]:
        """Of every record there is: a file that is written again gets another."""
        paths = (self.results / "records").glob("*.json")
        return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    def saved(self) -> dict[str, list[float]]:
        """The seconds of every round in the checkpoints that were left behind, by cell."""
        found = {}
        for work in (self.folder / "results").glob("*/work/*"):
            # One that goes while a suite runs is none.
            with suppress(FileNotFoundError):
                for path in work.glob("round-*.ckpt"):
                    state = torch.load(path, weights_only=True)["callbacks"]
                    (recorder,) = (kept for name, kept in state.items() if "Recorder" in name)
                    found[work.name] = recorder["round_seconds"]
        return found


@pytest.fixture
def place(workplace: Path, package: Path) -> Iterator[Place]:
    place = Place(workplace, package)
    yield place
    place.clear_up()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, package: Path, partitioned: Path
) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"), package)
    shutil.copytree(partitioned, place.folder / "data")
    finish(place.suite())
    return place


STOPS: list[tuple[int, Callable[[Program], None]]] = [
    (0, terminate),
    (1, kill_parent),
    (2, interrupt),
]
"""How many of three cells have a record at least, and what is done to the suite then."""


@pytest.mark.timeout(1500)  # Python and torch start four times
def test_a_suite_goes_on_where_it_was_stopped(place: Place, undisturbed: Place) -> None:
    """However often it is: every stop comes after the start before it has made headway.

    The other two tests kill all at once. Two workers, where the undisturbed suite has one.
    """
    finished: dict[str, tuple[int, int]] = {}
    saved: dict[str, list[float]] = {}

    def reached(records: int) -> bool:
        now = place.saved()
        headway = [cell for cell in now if len(saved.get(cell, [])) < len(now[cell]) < ROUNDS]
        return bool(headway) and len(place.identity()) >= records

    def nothing_ran_again() -> None:
        # A record that is written again is another file, a round that is run again takes
        # another time.
        assert finished.items() <= place.identity().items()
        seconds = place.saved() | {
            cell: record.cost.round_seconds for cell, record in place.records().items()
        }
        assert all(seconds[cell][: len(done)] == done for cell, done in saved.items())

    workers: list[int] = []
    for count, kill in STOPS:
        process = place.suite(workers=2)
        # Workers whose parent was killed notice by themselves, beside those of the next one.
        wait_for(partial(gone, workers))
        nothing_ran_again()
        finished, saved = place.identity(), place.saved()
        halt_when(partial(reached, count), process)
        nothing_ran_again()
        finished, saved = place.identity(), place.saved()
        assert len(finished) < 3
        assert any(0 < len(done) < ROUNDS for done in saved.values())
        workers = list(descendants(process.pid))
        assert workers
        kill(process)

    finish(place.suite(workers=2))
    nothing_ran_again()
    records, expected = place.records(), undisturbed.records()
    assert records.keys() == expected.keys()
    for cell, record in records.items():
        assert record.result() == expected[cell].result()
        assert len(record.cost.round_seconds) == ROUNDS
        weights = [p.results / "weights" / f"{cell}.pt" for p in (place, undisturbed)]
        one, other = (torch.load(path, weights_only=True) for path in weights)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert files(place.results) == files(undisturbed.results)


def test_the_command_of_a_record_repeats_it_killed_or_not(place: Place, undisturbed: Place) -> None:
    cell, expected = sorted(undisturbed.records().items())[-1]
    words = shlex.split(expected.command)
    assert words[:3] == ["python", "-m", "benchmark"]
    process = place.start(*words[3:])
    runs = place.folder / "results" / "runs"
    halt_when(lambda: glob.glob(f"{runs}/work/*/round-*.ckpt"), process)
    kill_group(process)
    ((name, done),) = place.saved().items()
    assert name == cell
    assert 0 < len(done) < ROUNDS
    path = place.folder / finish(place.start(*words[3:])).strip()
    record = Record.read(path)
    assert record.result() == expected.result()
    assert record.cost.round_seconds[: len(done)] == done
