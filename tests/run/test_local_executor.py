"""Warm workers: cells that fail, workers that die, and the same bits as a run of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmark.run import runner
from benchmark.run.events import Failed, Finished, Round, Started
from benchmark.run.executors.local import IMPORTED, ONE_THREAD, LocalExecutor, spawn
from tests.support.running import ROOT, files, obstruct, tiny


def kill_worker() -> None:
    """What the kernel does when memory runs out; returns when the process is gone."""
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def test_workers_that_are_killed_take_nothing_else_down(workplace: Path) -> None:
    victim, failing, last = (
        tiny("seed=1"),
        tiny("federation.client_lr=0.2"),
        tiny("attack=boosted", "defense=norm_clip"),
    )
    alone = runner.run(last, workplace / "alone")
    folder = workplace / "suite"
    obstruct(failing, folder)
    seen: list[tuple[type, str]] = []
    failures: dict[str, Failed] = {}
    finished: dict[str, Finished] = {}
    for event in LocalExecutor(workers=1).run([victim, failing, last], folder):
        seen.append((type(event), event.cell.id))
        match event:
            case Round(round=0) if event.cell == victim:
                kill_worker()
            case Failed():
                failures[event.cell.id] = event
            case Finished():
                finished[event.cell.id] = event

    assert failures.keys() == {victim.id, failing.id}
    assert failures[victim.id].reason == "its worker died: signal SIGKILL (out of memory?)"
    reason = failures[failing.id].reason
    assert reason.startswith("IsADirectoryError: [Errno 21] Is a directory")
    assert "Traceback" in failures[failing.id].details
    assert "training.py" in failures[failing.id].details

    assert finished.keys() == {last.id}
    record = finished[last.id].record
    assert record.result() == alone.result()
    assert record.weights_sha256 == alone.weights_sha256
    of_last = [kind for kind, cell in seen if cell == last.id]
    assert of_last == [Started, Round, Round, Round, Finished]
    assert {f"records/{last.id}.json", f"weights/{last.id}.pt"} <= files(folder)
    assert not victim.record_path(folder).exists()
    assert multiprocessing.active_children() == []


TOLD_TO_END = """
import multiprocessing, os, signal
from pathlib import Path
from benchmark.run.events import Failed, Round
from benchmark.run.executors.local import LocalExecutor
from tests.support.running import tiny
for event in LocalExecutor(workers=1).run([tiny("federation.rounds=5000")], Path("suite")):
    match event:
        case Round(round=0):
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGTERM)
        case Failed():
            print(event.reason)
"""


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_says_nothing_of_its_own(workplace: Path) -> None:
    """Lightning takes the signal for the worker, which is in the middle of a round."""
    # In a program of its own: workers write where their server's stderr went when it started.
    done = program(TOLD_TO_END)
    assert done.stdout == "its worker died: signal SIGTERM\n"
    assert done.stderr == ""


def tell_environment(connection: Connection) -> None:
    connection.send((os.environ.get("FEDBACKDOOR_TOLD"), os.environ["OMP_NUM_THREADS"]))


def test_a_worker_has_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that it is forked from may be older."""
    for told in ("first", "second"):
        monkeypatch.setenv("FEDBACKDOOR_TOLD", told)
        process, connection = spawn(tell_environment)
        assert connection.recv() == (told, "1")
        process.join()
        connection.close()


HIT = """
import os, signal, sys, threading, time
from multiprocessing import forkserver
from benchmark.run.executors.local import spawn

def serve(connection):
    connection.send("served")

def hit(times):
    server, seen = forkserver._forkserver, None
    while times:
        if server._forkserver_pid not in (None, seen):
            seen = server._forkserver_pid
            time.sleep(0.3)
            os.kill(seen, getattr(signal, sys.argv[1]))
            times -= 1
        time.sleep(0.01)

if __name__ == "__main__":
    threading.Thread(target=hit, args=[int(sys.argv[2])], daemon=True).start()
    try:
        process, connection = spawn(serve)
        print(connection.recv())
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
"""What workers are forked from is hit while it imports."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "times", "said"),
    [
        ("SIGINT", 1, "served"),
        ("SIGKILL", 1, "served"),
        ("SIGKILL", 3, "UserError: what workers are forked from was killed 3 times"),
    ],
)
def test_the_server_is_hit_while_it_starts(tmp_path: Path, how: str, times: int, said: str) -> None:
    (tmp_path / "hit.py").write_text(HIT)
    done = subprocess.run(
        [sys.executable, "hit.py", how, str(times)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith(said)
    assert done.stderr == ""


NO_GPU = f"""
import os, torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name) or 0)
import {IMPORTED}
print(len(os.listdir("/proc/self/task")), asked)
"""


@pytest.mark.slow
def test_what_workers_are_forked_from_has_one_thread_and_no_gpu() -> None:
    assert program(NO_GPU).stdout == "1 []\n"


def program(text: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.slow
def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced(workplace: Path) -> None:
    one, other = tiny("seed=1"), tiny("seed=2")
    finished = []
    for event in LocalExecutor(workers=1).run([one, other], workplace / "suite"):
        assert not isinstance(event, Failed)
        if isinstance(event, Finished):
            finished.append(event.cell)
            if event.cell == one:
                kill_worker()
    assert finished == [one, other]


@pytest.mark.slow
def test_two_workers_and_an_end_in_the_middle(workplace: Path) -> None:
    two = [tiny("federation.rounds=500", f"seed={seed}") for seed in (0, 1)]
    events = LocalExecutor(workers=5).run(two, workplace / "suite")
    running = set()
    for event in events:
        if isinstance(event, Round):
            running.add(event.cell.id)
        if len(running) == 2:
            break
    # No more processes than cells; the end leaves none of them.
    assert len(multiprocessing.active_children()) == 2
    events.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert not [name for name in files(workplace / "suite") if name.startswith("records/")]


def test_no_cells_no_workers(tmp_path: Path) -> None:
    assert list(LocalExecutor().run([], tmp_path)) == []
    assert LocalExecutor().workers == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [None, "7"])
def test_the_environment_is_left_as_it_was(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, threads: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    events = LocalExecutor(workers=1).run([tiny()], workplace / "suite")
    assert isinstance(next(events), Started)
    assert os.environ.get("OMP_NUM_THREADS") == threads
    events.close()  # type: ignore[attr-defined]
