"""A study in MLflow: its run, its trials below it, their federations below those."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmark.results import trials
from benchmark.results.trials import Trial, Trials
from benchmark.tracking import Tracker, studies
from benchmark.tracking.runs import Runs
from benchmark.tracking.tracker import ENVIRONMENT
from benchmark.tracking.uri import artifact_folder
from tests.support.synthetic import record

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

DONE = Trial(
    0, "complete", [0.4], {"main_accuracy": -0.01}, {"attack": "a"}, ["attack=a"], {3: 0.2}
)
PRUNED = Trial(1, "pruned", [], {}, {"attack": "b"}, ["attack=b", "attack.x=1"], {3: 0.1, 5: 0.2})
FAILED = Trial(2, "fail", [], {}, {"attack": "a"}, ["attack=a"], {})
DESCRIPTION = {
    "problem": "attacker",
    "sampler": "tpe",
    "seeds": [0, 1],
    "space": {"a": {}},
    "configuration": {"defense": {"name": "mean"}},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of three trials that nobody made: two federations of the first, one judged."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "tuning-s"
    trials.write([Trials("s-1", DESCRIPTION, [DONE, PRUNED, FAILED])], folder)
    for attack, seed in (("a", 0), ("a", 1), ("none", 0), ("a", 1000)):
        made = replace(record(attack, seed=seed), cell=f"{attack}-{seed}")
        made.write(folder / "records" / f"{made.cell}.json")
    # Of another study of the same race.
    made = replace(record("a", "median"), cell="a-0-median")
    made.write(folder / "records" / f"{made.cell}.json")
    winner = {"overrides": ["attack=a"], "backdoor": {"1000": 0.2, "1001": 0.4}}
    result = {"winner": winner, "command": "python it", "gain": {"mean": 0.1}}
    (folder / "tuning.json").write_text(json.dumps(result))
    (folder / "history.png").write_bytes(b"picture")
    return folder


def track(folder: Path, uri: str) -> list[str]:
    tracker = Tracker(uri=uri)
    tracker.open_suite(folder.name, {"trials": 3}, "study")
    for path in sorted((folder / "records").iterdir()):
        tracker.finish(path)
    # An attack that breaks the model does not fail the study.
    tracker.fail("a-7", "FloatingPointError: not finite")
    tracker.study(folder)
    return tracker.close()


def runs(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fedbackdoor")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_a_study_and_what_is_below_it_once(folder: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert track(folder, uri) == []
    found = runs(uri)
    assert Counter(run.data.tags["kind"] for run in found) == {"study": 1, "trial": 3, "cell": 5}
    (study,) = (run for run in found if run.data.tags["kind"] == "study")
    assert study.info.status == "FINISHED"
    assert study.data.tags["study"] == "s-1"
    assert study.data.tags["best.overrides"] == "attack=a"
    assert study.data.tags["best.command"] == "python it"
    assert study.data.params == {
        "problem": "attacker",
        "sampler": "tpe",
        "seeds": "[0, 1]",
        "configuration.defense.name": "mean",
        "space": '{"a": {}}',
    }
    assert study.data.metrics["best/backdoor_in_sample"] == pytest.approx(0.3)
    assert study.data.metrics["best/gain"] == 0.1
    client = MlflowClient(uri)
    kept = {file.path for file in client.list_artifacts(study.info.run_id)}
    assert kept == {"tuning.json", "trials.json", "history.png"}

    made = {r.data.tags["trial"]: r for r in found if r.data.tags["kind"] == "trial"}
    assert {n: (r.data.tags["state"], r.info.status) for n, r in made.items()} == {
        "0": ("complete", "FINISHED"),
        "1": ("pruned", "FINISHED"),
        "2": ("fail", "FAILED"),
    }
    assert made["0"].data.params == {"attack": "a"}
    assert made["0"].data.metrics["value"] == 0.4
    assert made["0"].data.metrics["constraint/main_accuracy"] == -0.01
    curve = client.get_metric_history(made["1"].info.run_id, "value_so_far")
    assert {m.step: m.value for m in curve} == {3: 0.1, 5: 0.2}
    parents = {
        r.data.tags["cell"]: r.data.tags["mlflow.parentRunId"]
        for r in found
        if r.data.tags["kind"] == "cell"
    }
    first, top = made["0"].info.run_id, study.info.run_id
    others = dict.fromkeys(["a-1000", "none-0", "a-0-median"], top)
    assert parents == {"a-0": first, "a-1": first} | others
    assert {r.data.tags["mlflow.parentRunId"] for r in made.values()} == {top}

    # Again, with a trial more: nothing doubles.
    more = replace(DONE, number=3)
    trials.write([Trials("s-1", DESCRIPTION, [DONE, PRUNED, FAILED, more])], folder)
    assert track(folder, uri) == []
    again = runs(uri)
    assert Counter(run.data.tags["kind"] for run in again) == {"study": 1, "trial": 4, "cell": 5}
    ended = {r.info.run_id: r.info.end_time for r in again}
    for run in made.values():
        assert ended[run.info.run_id] == run.info.end_time
    assert len(client.get_metric_history(made["1"].info.run_id, "value_so_far")) == 2


def test_a_dead_store_costs_nothing_and_says_how_to_log_later(folder: Path) -> None:
    (note,) = track(folder, "http://127.0.0.1:9")
    assert "`python -m benchmark track` logs what is missing" in note


def test_cells_of_a_defense_are_those_under_the_attacks_of_its_study(folder: Path) -> None:
    described = {"problem": "defender", "seeds": [0, 1], "attacks": {"attack=a": {}}}
    trial = replace(DONE, overrides=["defense=mean"])
    for attack in ("b", "none"):
        made = replace(record(attack), cell=f"{attack}-mean")
        made.write(folder / "records" / f"{made.cell}.json")
    found = studies._cells(Trials("d", described, [trial]), folder)
    assert found[frozenset(trial.overrides)] == ["a-0", "a-1", "none-0", "none-mean"]


def test_a_study_that_takes_long_tells_that_it_comes_on(folder: Path, tmp_path: Path) -> None:
    steps: list[None] = []
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    runs = Runs(uri, "fedbackdoor", artifact_folder(uri), (folder.name, {}, "study"))
    studies.log(runs, folder, lambda: steps.append(None))
    # Three trials and three files.
    assert len(steps) == 6
