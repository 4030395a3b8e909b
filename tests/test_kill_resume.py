"""A suite that is killed and started again ends as if nothing had happened.

Nothing here waits for time to pass: a process is killed when a file that marks the moment is
there, many rounds before the moment is over.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.record import Record
from tests.running import ROOT, TINY, environment, files

pytestmark = pytest.mark.slow

ROUNDS = 40
PARAMS = """\
suite:
  name: smoke
  axes: {attack: [norm_bounded], defense: [mean, norm_clip, weak_dp]}
  seeds: [0]
"""
PATIENCE_SECONDS = 240
"""After which a test fails; reached only where something is broken."""


@dataclass(frozen=True)
class Place:
    """A working directory, and the copy of the package that runs in it."""

    folder: Path
    package: Path

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
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

    def suite(self, workers: int = 1) -> "subprocess.Popen[str]":
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
        for path in (self.folder / "results").glob("*/work/*/last.ckpt"):
            state = torch.load(path, weights_only=True)["callbacks"]
            found[path.parent.name] = next(s for name, s in state.items() if "Recorder" in name)[
                "round_seconds"
            ]
        return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, so that nothing changes under a suite while it is away."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("benchmark", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture
def place(workplace: Path, package: Path) -> Place:
    return Place(workplace, package)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, package: Path, partitioned: Path
) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"), package)
    shutil.copytree(partitioned, place.folder / "data")
    finish(place.suite())
    return place


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    return out


def wait_for(what: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def checkpoints(place: Place) -> list[Path]:
    return list(place.results.glob("work/*/last.ckpt"))


MOMENTS: dict[str, Callable[[Place], Any]] = {
    "before any checkpoint": lambda place: list(place.results.glob("work/*/")),
    "in the first cell": checkpoints,
    "in the second cell": lambda place: place.identity() and checkpoints(place),
    "in the last cell": lambda place: len(place.identity()) == 2 and checkpoints(place),
}


def kill_group(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_parent(process: "subprocess.Popen[str]") -> None:
    """The workers stay; they must notice by themselves."""
    workers = list(descendants(process.pid))
    assert workers
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(alive, workers)))
    process.communicate()


def kill_parent_and_go_on(process: "subprocess.Popen[str]") -> None:
    """The next suite starts while the workers of this one may still be there."""
    assert process.stdout
    assert process.stderr
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C reaches every process of the terminal."""
    workers = list(descendants(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "fedbackdoor: interrupted; the same command goes on from here" in err
    assert "Traceback" not in err
    wait_for(lambda: not any(map(alive, workers)))


def terminate(process: "subprocess.Popen[str]") -> None:
    workers = list(descendants(process.pid))
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_for(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize(
    ("moment", "kill", "workers"),
    [
        ("before any checkpoint", kill_group, 1),
        ("in the first cell", kill_parent, 1),
        ("in the second cell", kill_group, 1),
        ("in the second cell", kill_parent_and_go_on, 1),
        ("in the last cell", interrupt, 1),
        ("in the first cell", terminate, 2),
        ("in the second cell", kill_group, 2),
    ],
)
def test_a_suite_goes_on_where_it_was_stopped(
    place: Place,
    undisturbed: Place,
    moment: str,
    kill: Callable[["subprocess.Popen[str]"], None],
    workers: int,
) -> None:
    process = place.suite(workers)
    wait_for(lambda: MOMENTS[moment](place), process)
    kill(process)
    finished = place.identity()
    saved = place.saved() if kill is not kill_parent_and_go_on else {}
    assert len(finished) < 3
    if moment != "before any checkpoint" and kill is not kill_parent_and_go_on:
        assert any(0 < len(rounds) < ROUNDS for rounds in saved.values())

    finish(place.suite(workers))
    records, expected = place.records(), undisturbed.records()
    assert records.keys() == expected.keys()
    # What was finished was not run again.
    assert finished.items() <= place.identity().items()
    for cell, record in records.items():
        assert record.result() == expected[cell].result()
        assert len(record.cost.round_seconds) == ROUNDS
        # The rounds before the kill were not run again: their times are the old ones.
        done = saved.get(cell, [])
        assert record.cost.round_seconds[: len(done)] == done
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
    wait_for(lambda: list(runs.glob("work/*/last.ckpt")), process)
    kill_group(process)
    ((name, done),) = place.saved().items()
    assert name == cell
    assert 0 < len(done) < ROUNDS
    path = place.folder / finish(place.start(*words[3:])).strip()
    record = Record.read(path)
    assert record.result() == expected.result()
    assert record.cost.round_seconds[: len(done)] == done
