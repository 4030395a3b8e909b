"""Tracking against real stores: SQLite, a served one, a dead one, one that never answers."""

import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmark.config.overrides import GROUPS
from benchmark.report.curves import curves
from benchmark.run.record import SCHEMA, Cost, Curve, Divergence, Record, Summary
from benchmark.tracking import CellFacts, Tracker, tracking_uri
from benchmark.tracking.fields import run_name
from benchmark.tracking.tracker import ENVIRONMENT
from benchmark.utils.errors import UserError
from tests.support.serving import free_port, started, stop

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

ROUNDS = 12
HASH = "0123456789abcdef" * 4
FIRST = ["1_main_accuracy", "2_backdoor_in_sample", "5_seconds_per_round"]
"""What is read first of the records here."""


def make_record(cell="boosted-mean-s1-abc", rounds=ROUNDS, **changes):
    steps = list(range(rounds))
    return replace(
        Record(
            cell=cell,
            overrides=["attack=boosted", "seed=1"],
            config={
                **{group: {"name": "some"} for group in GROUPS},
                "attack": {"name": "boosted", "gain": None},
                "defense": {"name": "mean", "weighted": False},
                "federation": {"name": "small", "rounds": rounds, "client_lr": 0.1},
                "seed": 1,
            },
            data={"name": "digits5k", "hash": HASH, "users": 100, "train_images": 4000},
            code={"version": "0.1.0", "fingerprint": "f00d"},
            seed=1,
            curves={
                "main_accuracy": Curve(steps, [1 - 0.8 / (r + 1) for r in steps]),
                "backdoor_in_sample": Curve(steps, [r / rounds for r in steps]),
                "num_compromised": Curve(steps, [float(r % 2) for r in steps]),
            },
            summary={
                "main_accuracy": Summary(0.9, 0.88, 0.7, None, 0.9),
                "backdoor_in_sample": Summary(0.9, 0.75, 0.5, None, 0.9),
            },
            weights_sha256="00",
            cost=Cost(
                [0.25] * rounds, [300.0] * rounds, "cpu", "cpu", "float32", {"torch": "2.13"}
            ),
            notes=["style users, not writers"],
        ),
        **changes,
    )


def written(folder, record):
    path = folder / f"{record.cell}.json"
    record.write(path)
    return path


def play(tracker, record, rounds):
    """Tell a tracker of these rounds of a record, as a suite does while a cell runs."""
    tracker.start(CellFacts.of(record))
    for r in rounds:
        tracker.round(*told(record, r))


def told(record, r):
    """What a tracker is told of a round."""
    metrics = {k: c.points()[r] for k, c in record.curves.items() if r in c.rounds}
    return record.cell, r, metrics | {"cost/round_seconds": record.cost.round_seconds[r]}


def runs(uri, query=""):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fedbackdoor")
    return client, list(client.search_runs([experiment.experiment_id], query))


def steps(client, run, metric):
    return Counter(m.step for m in client.get_metric_history(run.info.run_id, metric))


ONCE = Counter(range(ROUNDS))


def test_a_suite_and_its_cell_are_tracked_whole(uri, tmp_path):
    card = tmp_path / "partition"
    card.mkdir()
    (card / "card.png").write_bytes(b"png")
    (card / "manifest.json").write_text("{}")
    record = make_record()
    path = written(tmp_path, record)
    tracker = Tracker(uri=uri)
    tracker.open_suite("default", {"seeds": [1, 2], "base": {"federation": "small"}})
    play(tracker, record, range(ROUNDS))
    tracker.finish(path, card)
    assert tracker.close() == []
    assert tracker.logged == [record.cell]

    client, (parent,) = runs(uri, "tags.kind = 'suite'")
    assert parent.info.status == "FINISHED"
    assert "| base.federation | small |" in parent.data.tags["mlflow.note.content"]
    _, (run,) = runs(uri, "tags.kind = 'cell'")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "mean · boosted · s1"
    assert Record.read(path).mlflow_run_id == run.info.run_id
    others = set(GROUPS) - {"attack", "defense", "federation"}
    assert run.data.params == {f"{group}.name": "some" for group in others} | {
        "federation.name": "small",
        "attack.name": "boosted",
        "attack.gain": "null",
        "defense.name": "mean",
        "defense.weighted": "false",
        "federation.rounds": "12",
        "federation.client_lr": "0.1",
        "seed": "1",
    }
    expected = {
        "mlflow.parentRunId": parent.info.run_id,
        "suite": "default",
        "cell": record.cell,
        "attack": "boosted",
        "defense": "mean",
        "seed": "1",
        "data_hash": HASH,
        "code_version": "0.1.0",
        "code_fingerprint": "f00d",
        "engine": "cpu",
        "device": "cpu",
    }
    assert expected.items() <= run.data.tags.items()
    assert steps(client, run, "backdoor_in_sample") == ONCE
    history = client.get_metric_history(run.info.run_id, "main_accuracy")
    assert {m.step: m.value for m in history} == dict(
        enumerate(record.curves["main_accuracy"].values)
    )
    assert {k: v for k, v in run.data.metrics.items() if k[0].isdigit()} == {
        "1_main_accuracy": 0.88,
        "2_backdoor_in_sample": 0.75,
        "5_seconds_per_round": 0.25,
    }
    costs = {"cost/round_seconds", "cost/round_peak_memory_mb"}
    assert {k for k in run.data.metrics if not k[0].isdigit()} == {*record.curves, *costs}
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits5k", HASH[:36])
    assert HASH in data.dataset.source
    assert '"users": 100' in data.dataset.profile
    files = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert files == {"record.json", "curves.png", "partition"}
    assert len(client.list_artifacts(run.info.run_id, "partition")) == 2
    logged = client.download_artifacts(run.info.run_id, "record.json", str(card))
    assert SCHEMA.read(Path(logged)) == Record.read(path)


def test_what_is_read_first_comes_first_on_the_page_of_a_cell_that_is_told_live(uri, tmp_path):
    """The page shows metrics in the order in which the store was given their names; main accuracy
    is measured in some rounds only."""
    record, later = make_record(), Curve([4, 9], [0.5, 0.9])
    record = replace(record, curves=record.curves | {"main_accuracy": later})
    for rounds, expected in (range(6), [0.5, 5 / ROUNDS, 0.25]), (range(6, ROUNDS), None):
        tracker = Tracker(uri=uri)
        play(tracker, record, rounds)
        if expected is None:
            tracker.finish(written(tmp_path, record))
        assert tracker.close() == []
        _, (run,) = runs(uri)
        assert list(run.data.metrics)[:3] == FIRST
        assert [run.data.metrics[name] for name in FIRST] == (expected or [0.88, 0.75, 0.25])


def test_a_live_cell_waits_for_its_first_main_accuracy(uri):
    from benchmark.tracking.runs import Runs

    record, live = make_record(), Runs(uri, "fedbackdoor", None, None)
    live.start(CellFacts.of(record))
    for r, metrics in enumerate([{"backdoor_in_sample": 0.1}, {"main_accuracy": 0.5}]):
        live.round(record.cell, r, metrics, at=1)
        live.flush()
        _, (run,) = runs(uri)
        assert list(run.data.metrics)[:2] == r * ["1_main_accuracy", "2_backdoor_in_sample"]


def test_a_suite_grows_and_its_result_takes_the_place_of_the_last_one(uri):
    grown = ([0], 0.25, "# one"), ([0, 1], 0.5, "# two"), ([0, 1], 0.5, "# two")
    for seeds, value, text in grown:
        tracker = Tracker(uri=uri)
        tracker.open_suite("default", {"axes": {"attack": ["*"]}, "seeds": seeds})
        metrics = {"cells": 3, "1_worst_backdoor/mean": value}
        tracker.result(lambda m=metrics, t=text: (m, [("leaderboard.md", t)]))
        assert tracker.close() == []
    client, (parent,) = runs(uri)
    assert parent.data.params == {"axes.attack": '["*"]', "seeds": "[0]", "seeds 2": "[0, 1]"}
    assert "| seeds | [0, 1] |" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {"cells": 3, "1_worst_backdoor/mean": 0.5}
    history = client.get_metric_history(parent.info.run_id, "1_worst_backdoor/mean")
    assert [m.value for m in history] == [0.25, 0.5]
    board = client.download_artifacts(parent.info.run_id, "leaderboard.md")
    assert Path(board).read_text() == "# two"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "mean · boosted · s1"),
        (
            ["defense=mean", "defense.weighted=true", "seed=1"],
            "mean weighted = false · boosted · s1",
        ),
        (["federation=small", "federation.rounds=12"], "mean · boosted · small rounds = 12 · s1"),
        (["model=some", "tracking=mlflow"], "mean · boosted · s1"),
        (["attack.gain=null", "+attack.gone=5"], "mean · boosted gain = null, gone = 5 · s1"),
    ],
)
def test_a_run_is_called_by_what_was_chosen(overrides, name):
    """With values as they are resolved; of what all cells share, attack and defense alone."""
    shared = ["model=some", "attack.gain=null"]
    assert run_name(CellFacts.of(make_record(overrides=overrides)), shared) == name


def test_names_in_the_words_of_reports():
    record = make_record(overrides=["defense=weak_dp", "defense.norm_bound=${x}", "seed=1"])
    record.config["defense"] = {"name": "weak_dp", "norm_bound": 0.5, "noise_std": 0.002}
    assert run_name(CellFacts.of(record), []) == "weak_dp M = 0.5 · boosted · s1"


def test_a_federation_that_diverged_has_a_finished_run_that_says_so(uri, tmp_path):
    record = make_record(
        rounds=3,
        summary={"main_accuracy": Summary(0.0, 0.0, 0.5, None, None)},
        weights_sha256=None,
        diverged=Divergence(3, "round 3: the global model is not finite", [], [7]),
        notes=["diverged in round 3: the global model is not finite"],
    )
    tracker = Tracker(uri=uri)
    play(tracker, record, range(3))
    tracker.finish(written(tmp_path, record))
    assert tracker.close() == []
    _, (run,) = runs(uri)
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "diverged")
    assert "the global model is not finite" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["1_main_accuracy"] == 0
    assert math.isnan(run.data.metrics["2_backdoor_in_sample"])


def test_a_run_of_an_earlier_version_is_found_and_left_as_it_is(uri, tmp_path):
    """It says nothing of which execution it is, is called by its cell, and has other metrics."""
    from mlflow import MlflowClient

    record = make_record()
    client = MlflowClient(uri)
    experiment = client.create_experiment("fedbackdoor")
    suite = client.create_run(experiment, tags={"kind": "suite", "suite": "default"})
    tags = {"kind": "cell", "cell": record.cell, "suite": "default"}
    tags |= {"mlflow.parentRunId": suite.info.run_id}
    old = client.create_run(experiment, tags=tags, run_name=record.cell)
    client.log_metric(old.info.run_id, "summary/main_accuracy/final", 0.9)
    client.set_terminated(old.info.run_id)
    for known in (None, old.info.run_id):
        replace(record, mlflow_run_id=known).write(path := tmp_path / f"{record.cell}.json")
        tracker = Tracker(uri=uri)
        tracker.open_suite("default", {"seeds": [1]})
        tracker.finish(path)
        assert tracker.close() == []
        assert tracker.logged == []
        assert Record.read(path).mlflow_run_id == old.info.run_id
    _, every = runs(uri)
    assert {run.info.run_id for run in every} == {suite.info.run_id, old.info.run_id}


def test_a_resumed_cell_continues_its_run_without_logging_a_round_twice(uri, tmp_path):
    record = make_record()
    first = Tracker(uri=uri)
    first.open_suite("default", {})
    play(first, record, range(7))
    assert first.close() == []
    client, (killed,) = runs(uri, "tags.kind = 'cell'")
    assert (killed.info.status, killed.data.metrics["main_accuracy"]) == (
        "KILLED",
        record.curves["main_accuracy"].values[6],
    )
    assert runs(uri, "tags.kind = 'suite'")[1][0].info.status == "KILLED"

    second = Tracker(uri=uri)
    second.open_suite("default", {"seeds": 3})
    play(second, record, range(5, 9))  # the checkpoint was older than what is logged
    second.finish(written(tmp_path, record))
    assert second.close() == []
    client, every = runs(uri)
    assert len(every) == 2
    (run,) = [r for r in every if r.data.tags["kind"] == "cell"]
    assert run.info.run_id == killed.info.run_id
    assert run.info.status == "FINISHED"
    assert steps(client, run, "main_accuracy") == ONCE


def test_rounds_reach_the_store_while_the_cell_runs(uri):
    record = make_record()
    tracker = Tracker(uri=uri, flush_seconds=0.05)
    play(tracker, record, range(3))
    deadline = time.monotonic() + 60
    live = []
    while not (live and "main_accuracy" in live[0].data.metrics):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        live = runs_or_none(uri)
    assert live[0].info.status == "RUNNING"
    assert "suite" not in live[0].data.tags
    tracker.close()


def runs_or_none(uri, query=""):
    try:
        return runs(uri, query)[1]
    except AttributeError:  # the experiment is not there yet
        return []


def test_finishing_a_record_twice_makes_one_run_and_one_copy_of_each_metric(uri, tmp_path):
    path = written(tmp_path, make_record())
    for expected in (["boosted-mean-s1-abc"], []):
        tracker = Tracker(uri=uri)
        tracker.finish(path)
        assert tracker.close() == []
        assert tracker.logged == expected
        client, (run,) = runs(uri)
        assert steps(client, run, "main_accuracy") == ONCE
    # the run id never reached the record: the run is found by its cell
    make_record().write(path)
    tracker = Tracker(uri=uri)
    tracker.finish(path)
    assert tracker.close() == []
    client, (run,) = runs(uri)
    assert Record.read(path).mlflow_run_id == run.info.run_id
    assert steps(client, run, "main_accuracy") == ONCE


def test_a_record_whose_run_was_deleted_is_logged_again(uri, tmp_path):
    path = written(tmp_path, make_record())
    for _ in range(2):
        tracker = Tracker(uri=uri)
        tracker.finish(path)
        assert tracker.close() == []
        client, (run,) = runs(uri)
        assert Record.read(path).mlflow_run_id == run.info.run_id
        client.delete_run(run.info.run_id)


def test_an_unfinished_run_of_a_suite_is_completed_later_without_naming_the_suite(uri, tmp_path):
    record = make_record()
    tracker = Tracker(uri=uri)
    tracker.open_suite("default", {})
    play(tracker, record, range(4))
    tracker.close()
    later = Tracker(uri=uri)
    later.finish(written(tmp_path, record))
    assert later.close() == []
    client, (run,) = runs(uri, "tags.kind = 'cell'")
    assert (run.info.status, run.data.tags["suite"]) == ("FINISHED", "default")
    assert steps(client, run, "main_accuracy") == ONCE


def test_a_cell_that_two_suites_share_is_a_child_of_both_and_its_record_keeps_the_first(
    uri, tmp_path
):
    record = make_record()
    path = written(tmp_path, record)
    for suite, params in (("default", {"seeds": 3}), ("other", {}), ("default", {})):
        tracker = Tracker(uri=uri)
        tracker.open_suite(suite, params)
        tracker.finish(path)
        assert tracker.close() == []
    _, (parent,) = runs(uri, "tags.kind = 'suite' and tags.suite = 'default'")
    assert "| seeds | 3 |" in parent.data.tags["mlflow.note.content"]
    client, cells = runs(uri, "tags.kind = 'cell'")
    of = {run.data.tags["suite"]: run for run in cells}
    assert set(of) == {"default", "other"}
    assert len(cells) == 2
    assert all(steps(client, run, "main_accuracy") == ONCE for run in cells)
    assert len({run.data.tags["mlflow.parentRunId"] for run in cells}) == 2
    assert Record.read(path).mlflow_run_id == of["default"].info.run_id


def test_a_finished_cell_that_runs_anew_gets_a_run_of_its_own(uri, tmp_path):
    path = tmp_path / "boosted-mean-s1-abc.json"
    for seconds in (0.25, 0.5):
        record = make_record()
        record.cost.round_seconds[0] = seconds
        record.write(path)
        tracker = Tracker(uri=uri)
        play(tracker, record, range(3))
        tracker.finish(path)
        assert tracker.close() == []
    client, every = runs(uri)
    assert [steps(client, run, "main_accuracy") for run in every] == [ONCE, ONCE]
    assert Record.read(path).mlflow_run_id == every[0].info.run_id


def test_a_failed_cell_says_why_and_its_suite_fails(uri, tmp_path):
    record = make_record()
    tracker = Tracker(uri=uri)
    tracker.open_suite("default", {})
    play(tracker, record, range(3))
    tracker.fail(record.cell, "ValueError: loss is NaN in round 3")
    assert tracker.close() == []
    client, every = runs(uri)
    assert [run.info.status for run in every] == ["FAILED", "FAILED"]
    (run,) = [run for run in every if run.data.tags["kind"] == "cell"]
    assert run.data.tags["failure"] == "ValueError: loss is NaN in round 3"
    assert sum(steps(client, run, "main_accuracy").values()) == 3
    # It runs again and ends well: then nothing has failed.
    again = Tracker(uri=uri)
    again.open_suite("default", {})
    again.start(CellFacts.of(record))
    again.finish(written(tmp_path, record))
    assert again.close() == []
    _, every = runs(uri)
    assert [run.info.status for run in every] == ["FINISHED", "FINISHED"]
    assert not any("failure" in run.data.tags for run in every)


def test_missing_values_long_parameters_and_odd_names(uri, tmp_path):
    record = make_record()
    record.curves["loss (mean)"] = Curve([0, 1, 2], [1.0, None, 0.5])
    record.config["long"] = "x" * 7000
    record.config["many"] = {f"key {i}!": i for i in range(150)}
    record.config["empty"] = {"dict": {}, "text": ""}
    tracker = Tracker(uri=uri)
    tracker.start(CellFacts.of(record))
    tracker.round(record.cell, 3, {"loss (mean)": math.nan, "norm": None})
    tracker.finish(written(tmp_path, record))
    assert tracker.close() == []
    client, (run,) = runs(uri)
    history = client.get_metric_history(run.info.run_id, "loss _mean_")
    assert {m.step: m.value for m in history if m.step != 3} == {0: 1.0, 2: 0.5}
    assert math.isnan(next(m.value for m in history if m.step == 3))
    assert "norm" not in run.data.metrics
    params = run.data.params
    assert len(params["long"]) == 6000
    assert params["long"].endswith("cut, 7000 characters; whole in record.json")
    assert params["many.key 149_"] == "149"
    assert (params["empty.dict"], params["empty.text"]) == ("{}", "")


def test_a_bad_record_is_reported_and_the_next_one_is_tracked(uri, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    tracker = Tracker(uri=uri, warn=(told := []).append)
    tracker.finish(broken)
    tracker.finish(written(tmp_path, make_record()))
    (note,) = tracker.close()
    assert note.startswith(f"{broken}: not a record")
    assert tracker.logged == ["boosted-mean-s1-abc"]
    assert told == []


def test_a_cell_that_mlflow_refuses_does_not_keep_others_from_being_tracked(uri, tmp_path):
    refused = make_record("refused")
    refused.config["k" * 300] = 1
    tracker = Tracker(uri=uri, warn=(told := []).append)
    play(tracker, refused, range(3))
    tracker.finish(written(tmp_path, refused))
    tracker.finish(written(tmp_path, make_record("fine")))
    (note,) = tracker.close()
    assert tracker.logged == ["fine"]
    assert "exceeds the maximum length" in note
    assert "1 record is not tracked" in note
    assert len(told) == 1


def test_a_server_that_is_down_costs_a_line_and_the_record_can_be_tracked_later(uri, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        down = f"http://user:secret@127.0.0.1:{reserved.getsockname()[1]}"
    record = make_record()
    path = written(tmp_path, record)
    tracker = Tracker(uri=down, warn=(told := []).append)
    tracker.open_suite("default", {})
    play(tracker, record, range(ROUNDS))
    tracker.finish(path)
    (note,) = tracker.close()
    assert "refused" in note
    assert "1 record is not tracked: `python -m benchmark track`" in note
    assert len(told) == 1
    assert "secret" not in note + told[0]
    assert Record.read(path).mlflow_run_id is None
    later = Tracker(uri=uri)
    later.finish(path)
    assert later.close() == []
    assert steps(*runs_of_one(uri), "main_accuracy") == ONCE


def runs_of_one(uri, query=""):
    client, (run,) = runs(uri, query)
    return client, run


def test_a_server_that_never_answers_does_not_hold_up_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    import mlflow  # noqa: F401  its import is not what is timed here

    record = make_record()
    path = written(tmp_path, record)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracker = Tracker(uri=uri, warn=(told := []).append)
        begin = time.monotonic()
        play(tracker, record, range(ROUNDS))
        tracker.finish(path)
        assert time.monotonic() - begin < 1
        (note,) = tracker.close()
        assert time.monotonic() - begin < 15
    assert "not tracked" in note
    assert len(told) <= 1
    assert Record.read(path).mlflow_run_id is None


@pytest.mark.slow
def test_a_server_that_dies_midway_loses_nothing(tmp_path, uri):
    first, second = make_record("a"), make_record("b")
    server, address = serve(uri, tmp_path)
    try:
        tracker = Tracker(uri=address, flush_seconds=0.1, warn=(told := []).append)
        tracker.open_suite("default", {})
        play(tracker, first, range(ROUNDS))
        one = written(tmp_path, first)
        tracker.finish(one)
        play(tracker, second, range(5))
        deadline = time.monotonic() + 60
        while not any(
            "main_accuracy" in r.data.metrics for r in runs_or_none(uri, "tags.cell = 'b'")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        stop(server)
    two = written(tmp_path, second)
    tracker.finish(two)
    begin = time.monotonic()
    (note,) = tracker.close()
    assert time.monotonic() - begin < 15
    assert "1 record is not tracked" in note
    assert len(told) == 1
    assert tracker.logged == ["a"]
    assert Record.read(one).mlflow_run_id is not None
    assert Record.read(two).mlflow_run_id is None

    server, address = serve(uri, tmp_path)
    try:
        logged, notes = [], [note]
        for _ in range(10):  # a server that has just started may be slow: track again
            later = Tracker(uri=address)
            later.open_suite("default", {})
            later.finish(one)
            later.finish(two)
            notes = later.close()
            logged += later.logged
            if not notes:
                break
        assert notes == []
        assert logged == ["b"]
        client, cells = runs(address, "tags.kind = 'cell'")
        assert [r.info.status for r in cells] == ["FINISHED", "FINISHED"]
        assert all(steps(client, run, "main_accuracy") == ONCE for run in cells)
        assert {f.path for f in client.list_artifacts(cells[0].info.run_id)} == {
            "record.json",
            "curves.png",
        }
    finally:
        stop(server)


def serve(uri, folder):
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    return started([*command, "--port", str(port), "--workers", "1"], port, folder)


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("ftp://host", "no scheme ftp"),
        ("mlflow.db", "no longer writes to folders"),
        ("file:./mlruns", "no longer writes to folders"),
        ("http://", "no host"),
        ("http://host:port", "no host and port"),
        ("sqlite://", "no file"),
        ("sqlite:///:memory:", "no file"),
        ("sqlite:///.", "is a folder"),
        ("sqlite:///text.db", "text.db is no SQLite database"),
        ("sqlite:///text.db/mlflow.db", "text.db cannot be written to"),
    ],
)
def test_an_address_where_nothing_can_be_tracked_is_refused_at_once(
    uri, fault, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database, a text of some length")
    with pytest.raises(UserError) as caught:
        Tracker(uri=uri)
    assert fault in str(caught.value)
    assert "valid: sqlite:///FILE.db, http://HOST:PORT" in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    ["https://host", "postgresql+psycopg2://me:pw@host/db", "databricks", "databricks://profile"],
)
def test_valid_addresses(uri):
    assert tracking_uri(uri) == uri


def test_the_address_comes_from_the_argument_then_the_environment_then_the_default(monkeypatch):
    assert tracking_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri() == "http://host:5000"
    assert tracking_uri("sqlite:///other.db") == "sqlite:///other.db"


def test_a_relative_address_is_of_the_directory_it_is_used_in(tmp_path, monkeypatch, empty_store):
    """MLflow keeps connections by address, whatever directory that meant."""
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(empty_store, folder / "mlflow.db")
        monkeypatch.chdir(folder)
        tracker = Tracker(uri="sqlite:///mlflow.db?timeout=60")
        tracker.finish(written(folder, make_record(f"cell-{name}")))
        assert tracker.close() == []
    for name in ("first", "second"):
        with closing(sqlite3.connect(tmp_path / name / "mlflow.db")) as store:
            tags = store.execute("select value from tags where key = 'cell'")
            assert list(tags) == [(f"cell-{name}",)]


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\\b", "..", ".", "a\nb", "x" * 256])
def test_an_experiment_whose_artifacts_would_lie_elsewhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"tracking\.experiment: must be a folder's name"):
        Tracker(experiment=name)
    assert list(tmp_path.iterdir()) == []
    # A server keeps artifacts itself, and Databricks wants a path.
    Tracker(experiment=name, uri="databricks")


def test_artifacts_of_an_odd_experiment_lie_in_a_folder_of_its_name(uri, tmp_path):
    for name in ("..%2f..%2fx", " a b", "ä#?%"):
        record = make_record(f"cell-{name.encode().hex()}")
        tracker = Tracker(experiment=name, uri=uri)
        tracker.finish(written(tmp_path, record))
        assert tracker.close() == []
        assert len(list((tmp_path / "mlartifacts" / name).rglob("record.json"))) == 1


@pytest.mark.parametrize("settings", [{"experiment": " "}, {"flush_seconds": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        Tracker(**settings)


def test_nothing_is_tracked_or_imported_without_a_tracker_or_before_its_first_event(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmark.tracking import NoTracker, Tracker; "
        "t = NoTracker(); t.open_suite('s', {}); t.fail('c', 'r'); t.finish(Path('x')); "
        "assert t.close() == [] and Tracker().close() == []; "
        "assert not {'mlflow', 'matplotlib', 'torch'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_mlflow_keeps_off_the_terminal(tmp_path):
    """In a process of its own: the first use creates the tables, beside where it is run."""
    path = written(tmp_path, make_record())
    code = (
        "import sys; from pathlib import Path; from benchmark.tracking import Tracker; "
        f"t = Tracker(); t.open_suite('s', {{}}); t.finish(Path({str(path)!r})); "
        "assert t.close() == []"
    )
    root = Path(__file__).parents[2]
    bare = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=bare | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "mlflow.db").is_file()
    assert len(list((tmp_path / "mlartifacts").rglob("record.json"))) == 1
    assert Record.read(path).mlflow_run_id


def test_the_figure_shows_each_curve_and_the_attacked_rounds():
    record = make_record()
    record.curves["main_accuracy"].values[3] = None
    figure = curves(record)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == {
        "main accuracy",
        "backdoor accuracy, in-sample",
        "in-sample, mean so far",
        "round with a compromised client",
    }
    assert list(lines["main accuracy"].get_xdata()) == [r for r in range(ROUNDS) if r != 3]
    assert list(lines["round with a compromised client"].get_xdata()) == [1, 3, 5, 7, 9, 11]
    assert lines["in-sample, mean so far"].get_ydata()[-1] == pytest.approx(5.5 / 12)


def test_a_record_without_curves_has_a_figure():
    figure = curves(make_record(curves={}))
    FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_lines() == []
