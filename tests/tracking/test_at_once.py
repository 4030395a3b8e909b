"""Kills while MLflow's tables are made, and processes that track the same suite at once."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy.exc import OperationalError

from benchmark.tracking import CellFacts, Tracker
from benchmark.tracking.runs import Runs
from tests.tracking.test_tracker import ONCE, ROUNDS, make_record, runs, steps, written

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

ROOT = Path(__file__).parents[2]

FORKS = """
import os, signal, sqlite3, sys, time
from pathlib import Path
from mlflow import MlflowClient
from benchmark.tracking import CellFacts, Tracker
from benchmark.tracking.runs import Runs
from benchmark.run.record import Record
import benchmark.tracking.database

def fork(work):
    if child := os.fork():
        return child
    work()
    os._exit(0)
"""


def script(code: str, *arguments: object) -> None:
    """Run it in a process that has imported MLflow and has no threads yet, so that it can fork."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS + code, *map(str, arguments)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)


def is_logged(file: Path, folder: Path) -> bool:
    """Whether a record can be tracked there, beside nothing else."""
    tracker = Tracker(uri=f"sqlite:///{file}")
    tracker.finish(written(folder, make_record()))
    assert tracker.close() == []
    client, (run,) = runs(tracker.uri)
    return steps(client, run, "main_accuracy") == ONCE


def test_what_a_kill_leaves_of_the_tables_does_not_matter(tmp_path: Path) -> None:
    script(
        """
folder = Path(sys.argv[1])

def killed_at(number):
    file, seen = folder / f"ours-{number}.db", []

    def hook(event, arguments):
        if event == "sqlite3.connect" and str(arguments[0]).startswith(str(file)):
            seen.append(event)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    Runs(f"sqlite:///{file}", "fedbackdoor", folder / "mlartifacts", None)

# Between making the tables and putting them into the file, and right after that.
for number in (1, 2):
    _, status = os.waitpid(fork(lambda: killed_at(number)), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
# An earlier version of this program had MLflow make them in place.
file = folder / "earlier.db"
child = fork(lambda: MlflowClient(f"sqlite:///{file}").search_experiments())
place = sqlite3.connect(file)
made = "SELECT count(*) FROM sqlite_master WHERE name = 'registered_models'"
while not place.execute(made).fetchone()[0]:
    time.sleep(0.01)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
# So it is where the kill comes between a step and the note of it.
place.execute("DELETE FROM alembic_version")
place.commit()
""",
        tmp_path,
    )
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"ours-2.db", "earlier.db"}
    half = Path(shutil.copy(tmp_path / "earlier.db", tmp_path / "copy.db"))
    with pytest.raises(OperationalError, match=r"duplicate column|already exists"):
        MlflowClient(f"sqlite:///{half}").search_experiments()
    for name in ("ours-1.db", "ours-2.db", "earlier.db"):
        assert is_logged(tmp_path / name, tmp_path)


def test_a_database_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
    assert is_logged(file, tmp_path)
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT * FROM mine").fetchall() == [(1,)]


@pytest.mark.slow
def test_kills_at_any_moment_of_the_tables(tmp_path: Path) -> None:
    script(
        """
folder = Path(sys.argv[1])
for number in range(4):
    file = folder / f"{number}.db"
    child = fork(lambda: Runs(f"sqlite:///{file}", "fedbackdoor", folder / "artifacts", None))
    time.sleep(0.05 + 1.2 * number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
""",
        tmp_path,
    )
    for number in range(4):
        assert is_logged(tmp_path / f"{number}.db", tmp_path)


def test_two_processes_that_track_the_same_suite_share_its_runs(tmp_path: Path) -> None:
    records = [make_record(f"cell-{number}") for number in range(3)]
    paths = [written(tmp_path, record) for record in records]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    script(
        """
uri, *paths = sys.argv[1:]
records = [Record.read(Path(path)) for path in paths]

def track():
    tracker = Tracker(uri=uri, flush_seconds=0.05)
    tracker.open_suite("default", {"seeds": [0, 1]})
    for record in records:
        tracker.start(CellFacts.of(record))
    # One of them runs the cell, the other one waits for its record.
    mine = records if number else ()
    for record in mine:
        for r in range(5):
            tracker.round(record.cell, r, {k: c.values[r] for k, c in record.curves.items()})
            time.sleep(0.02)
    for path in paths:
        tracker.finish(Path(path))
    assert tracker.close() == []

children = []
for number in range(2):
    children.append(fork(track))
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
""",
        uri,
        *paths,
    )
    client, found = runs(uri)
    assert Counter(run.data.tags["kind"] for run in found) == {"suite": 1, "cell": 3}
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        if run.data.tags["kind"] == "cell":
            assert all(
                steps(client, run, name) == ONCE for name in ("main_accuracy", "num_compromised")
            )
            assert steps(client, run, "cost/round_seconds") == ONCE


def both(uri: str, folder: Path) -> tuple[Runs, Runs]:
    one, other = (Runs(uri, "fedbackdoor", folder, ("default", {}, "suite")) for _ in range(2))
    return one, other


def test_who_starts_a_cell_that_another_one_has_finished_adds_no_run(
    uri: str, tmp_path: Path
) -> None:
    record = make_record()
    one, other = both(uri, tmp_path)
    path = written(tmp_path, record)
    one.start(CellFacts.of(record))
    for r in range(ROUNDS):
        one.round(record.cell, r, {"main_accuracy": 0.5}, 1)
    assert one.finish(path, None)
    # Its process had not looked for the record yet.
    other.start(CellFacts.of(record))
    assert not other.finish(path, None)
    one.close()
    other.close()
    _, every = runs(uri)
    assert len(every) == 2
    assert {run.info.status for run in every} == {"FINISHED"}


def test_a_process_that_is_stopped_leaves_the_run_that_another_one_finished(
    uri: str, tmp_path: Path
) -> None:
    record = make_record()
    one, other = both(uri, tmp_path)
    one.start(CellFacts.of(record))
    other.start(CellFacts.of(record))
    assert other.finish(written(tmp_path, record), None)
    one.round(record.cell, 3, {"main_accuracy": 0.1}, 1)
    one.flush()
    one.close()
    client, (run,) = runs(uri, "tags.kind = 'cell'")
    assert run.info.status == "FINISHED"
    assert steps(client, run, "main_accuracy") == ONCE


def test_of_runs_that_two_machines_made_at_once_the_oldest_stays(uri: str, tmp_path: Path) -> None:
    """Two machines hold no lock together: one creates its run while the other one looks."""
    record = make_record()
    one, other = both(uri, tmp_path)
    other._lock = tmp_path / "another machine"
    create = one.client.create_run

    def meanwhile(*given: object, **named: object) -> object:
        one.client.create_run = create  # type: ignore[method-assign]
        time.sleep(0.002)
        other.start(CellFacts.of(record))
        time.sleep(0.002)
        return create(*given, **named)  # type: ignore[arg-type]

    one.client.create_run = meanwhile  # type: ignore[method-assign, assignment]
    one.start(CellFacts.of(record))
    _, (run,) = runs(uri, "tags.kind = 'cell'")
    path = written(tmp_path, record)
    assert other.finish(path, None)
    assert not one.finish(path, None)
    assert len(runs(uri, "tags.kind = 'cell'")[1]) == 1
    assert run.info.run_id == runs(uri, "tags.kind = 'cell'")[1][0].info.run_id
