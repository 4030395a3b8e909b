"""What a campaign of kills compares: everything but what a run took."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bench import kills


def left(folder: Path) -> Path:
    """What a suite leaves, in small."""
    records, data = folder / "results/smoke/records", folder / "data"
    for path in (records, data):
        path.mkdir(parents=True)
    (records / "a.json").write_text(json.dumps({"seed": 0, "cost": 1.5}))
    (data / "labels.npy").write_bytes(b"labels")
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.executescript(
            """
            CREATE TABLE runs (run_uuid, name, status, lifecycle_stage);
            CREATE TABLE params (run_uuid, key, value);
            CREATE TABLE metrics (run_uuid, key, step, value, is_nan);
            CREATE TABLE latest_metrics (run_uuid, key, step, value, is_nan);
            CREATE TABLE tags (run_uuid, key, value);
            INSERT INTO runs VALUES ('1', 'cell', 'FINISHED', 'active');
            INSERT INTO runs VALUES ('2', 'old', 'KILLED', 'deleted');
            INSERT INTO params VALUES ('1', 'seed', '0');
            INSERT INTO metrics VALUES ('1', 'main_accuracy', 3, 0.5, 0);
            INSERT INTO metrics VALUES ('1', 'cost/round_seconds', 3, 0.1, 0);
            INSERT INTO tags VALUES ('1', 'kind', 'cell');
            """
        )
    return folder


def record(**changed: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "results/smoke/records/a.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return write


def store(statement: str) -> Callable[[Path], None]:
    def execute(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "mlflow.db")) as file, file:
            file.execute(statement)

    return execute


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (record(cost=2.5), []),
        (store("UPDATE metrics SET value = 9 WHERE key LIKE 'cost/%'"), []),
        (record(seed=1), ["results/smoke/records/a.json"]),
        (lambda folder: (folder / "data/labels.npy").write_bytes(b"others"), ["data/labels.npy"]),
        (lambda folder: (folder / "data/half.tmp").touch(), ["data/half.tmp"]),
        (store("UPDATE runs SET status = 'RUNNING'"), ["MLflow: runs"]),
        (store("INSERT INTO params VALUES ('1', 'rounds', '3')"), ["MLflow: params"]),
        (
            store("INSERT INTO metrics VALUES ('1', 'main_accuracy', 3, 0.5, 0)"),
            ["MLflow: metrics"],
        ),
        (store("UPDATE tags SET value = 'suite'"), ["MLflow: tags"]),
    ],
)
def test_all_is_compared_but_what_a_run_took(
    tmp_path: Path, change: Callable[[Path], None], told: list[str]
) -> None:
    expected, found = left(tmp_path / "undisturbed"), left(tmp_path / "trial")
    change(found)
    assert kills.differences(kills.outcome(found), kills.outcome(expected)) == told


def test_a_kill_hits_a_process_of_the_command_s_group_and_a_trial_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that there is not ends with 2, in one line."""
    monkeypatch.setattr(kills, "WORDS", "suite unknown")
    monkeypatch.setattr(kills, "EARLY_SHARE", 1.0)
    monkeypatch.setattr(kills, "EARLY_SECONDS", 0.01)
    done, fault = kills.trial(tmp_path / "trial", 1, random.Random(0), 0)
    assert [kill.split()[0] for kill in done] == ["command"]
    assert fault == "exits with 2"
