"""Whatever is wrong with what a person typed, wrote or left behind: one line, exit status 2.

The line names the fault and what would be right, and nothing is left half-written.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.running import TINY, Answer, call, command, files

RUN = ("run", *TINY)
SUITE = ("suite", "smoke", *TINY)

Words = list[str]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # the command line itself
        ([], ["VERB", "--help"]),
        (["sweet"], ["invalid choice: 'sweet'", "suite", "leaderboard"]),
        (["run", "--jsn"], ["unknown argument '--jsn'", "--help"]),
        (["run", "-j"], ["unknown argument '-j'"]),
        (["list", "attacks", "defenses"], ["unknown argument 'defenses'"]),
        (["suite"], ["required: name", "suite --help"]),
        (["suite", "smoke", "--workers", "0"], ["--workers must be at least 1, got 0"]),
        (["suite", "smoke", "--workers", "-2"], ["--workers must be at least 1, got -2"]),
        (["suite", "smoke", "--workers", "all"], ["--workers", "invalid int value: 'all'"]),
        (["suite", "smoke", "--params"], ["--params", "expected one argument"]),
        (["suite", "smoke", "executor=cloud"], ["no executor 'cloud'", "valid: local"]),
        (["reproduce", "quick", "executor.x=1"], ["no key 'x' in executor", "it has none"]),
        (["run", "executor=local"], ["no key 'executor'"]),
        # names
        (["list", "attack"], ["no kind 'attack'", "did you mean 'attacks'?", "valid: attacks"]),
        (["suite", "smok"], ["no suite 'smok'", "did you mean 'smoke'?", "valid: default, "]),
        (["params", "smok"], ["no suite 'smok'", "did you mean 'smoke'?"]),
        (["leaderboard", "smok"], ["no suite 'smok'", "did you mean 'smoke'?"]),
        (["leaderboard", "smoke"], ["smoke/suite.json", "python -m benchmark suite smoke"]),
        (["track"], ["results: no records", "python -m benchmark run"]),
        (["track", "smoke"], ["results/smoke: no records"]),
        (["run", "atack=none"], ["no key 'atack'", "did you mean 'attack'?"]),
        (["run", "attack=boostd"], ["no attack 'boostd'", "did you mean 'boosted'?"]),
        (["run", "device=gpu"], ["no device 'gpu'", "valid: auto, cpu, cuda"]),
        (["run", "federation.round=3"], ["no key 'round'", "did you mean 'rounds'?"]),
        ([*SUITE, "federation.round=3"], ["no key 'round'", "did you mean 'rounds'?"]),
        (["partition", "data=mnist"], ["no data 'mnist'", "did you mean 'qmnist'?"]),
        # the grammar
        (["run", "attack"], ["'attack': not an override", "group=name or key=value"]),
        (["run", "attack=none,boosted"], ["one value at a time", "suite"]),
        (["run", "+attack.x=1"], ["only group=name and key=value"]),
        (["run", "~attack"], ["only group=name and key=value"]),
        (["run", "data.path=[1"], ["'data.path=[1': not an override", "quoting"]),
        # types
        (["run", "seed=-1"], ["seed must be a whole number from 0, got -1"]),
        (["run", "seed=0.5"], ["seed must be a whole number from 0, got 0.5"]),
        (["run", "federation.rounds=1.5"], ["expected a whole number, got 1.5"]),
        (["run", "federation.client_lr=fast"], ["expected a number, got 'fast'"]),
        (["run", "federation.weighting=size"], ["expected one of uniform, examples"]),
        (["run", "federation.measured_on=train"], ["expected one of all, validation, test"]),
        (
            [*RUN, "federation.measured_on=test", "task.num_tasks=51"],
            ["num_tasks must be 1 to 50", "of class 7 in the half that is measured; got 51"],
        ),
        (["run", "participation.window=4"], ["expected a list like [1,2] or null"]),
        # ranges: every constructor's
        ([*RUN, "federation.rounds=0"], ["federation: rounds must be at least 1, got 0"]),
        ([*RUN, "federation.batch_size=0"], ["batch_size must be at least 1"]),
        ([*RUN, "federation.local_epochs=-1"], ["local_epochs must be at least 1"]),
        ([*RUN, "federation.evaluate_every=0"], ["evaluate_every must be at least 1"]),
        ([*RUN, "federation.checkpoint_every=0"], ["checkpoint_every must be at least 1"]),
        ([*RUN, "federation.client_lr=0"], ["client_lr must be positive and finite, got 0.0"]),
        ([*RUN, "federation.server_lr=nan"], ["server_lr must be positive and finite, got nan"]),
        ([*RUN, "federation.client_lr=inf"], ["client_lr must be positive and finite, got inf"]),
        ([*RUN, "attack=boosted", "attack.epochs=0"], ["attack: epochs must be at least 1"]),
        ([*RUN, "attack=norm_bounded", "attack.norm_bound=0"], ["norm_bound must be positive"]),
        ([*RUN, "attack=norm_bounded", "attack.rounds=0"], ["attack: rounds must be at least 1"]),
        ([*RUN, "defense=norm_clip", "defense.norm_bound=-1"], ["norm_bound must be positive"]),
        ([*RUN, "defense=norm_reject", "defense.norm_bound=0"], ["norm_bound must be positive"]),
        ([*RUN, "defense=weak_dp", "defense.noise_std=-1"], ["noise_std must be at least 0"]),
        ([*RUN, "participation.frequency=0"], ["frequency must be at least 1, got 0"]),
        ([*RUN, "participation.window=[3,1]"], ["window must be [first, end)", "[3, 1]"]),
        (
            [*RUN, "participation=random_sampling", "participation.fraction=1.5"],
            ["fraction must be above 0 and at most 1, got 1.5"],
        ),
        ([*RUN, "engine.workers=0"], ["engine: workers must be at least 1, got 0"]),
        ([*RUN, f"engine.workers={10**20}"], ["engine: workers must be at most 1024, got 1000"]),
        (
            [*RUN, "federation.clients_per_round=3000000000", "federation.replacement=true"],
            ["federation: clients_per_round must be at most 1000000, got 3000000000"],
        ),
        ([*RUN, f"federation.rounds={10**30}"], ["federation: rounds must be at most 1000000"]),
        ([*RUN, "task.num_tasks=0"], ["task: num_tasks must be at least 1"]),
        ([*RUN, "task.source_class=1"], ["source_class and target_class are both 1"]),
        ([*RUN, "partition.users=0"], ["partition: users must be at least 1, got 0"]),
        ([*RUN, "partition.test_fraction=1"], ["test_fraction must be between 0 and 1"]),
        ([*RUN, "partition.min_images=0"], ["min_images must be at least 1"]),
        ([*RUN, "partition=dirichlet", "partition.alpha=0"], ["alpha must be positive"]),
        # what does not fit the data
        ([*RUN, "task.num_tasks=101"], ["num_tasks must be 1 to 100", "got 101"]),
        ([*RUN, "task.source_class=10"], ["source_class must be 0 to 9, got 10"]),
        ([*RUN, "federation.clients_per_round=101"], ["clients_per_round must be 1 to 100"]),
        ([*SUITE, "federation.clients_per_round=101"], ["clients_per_round must be 1 to 100"]),
        (
            [*RUN, "participation=random_sampling", "participation.fraction=0.001"],
            ["fraction 0.001 of 100 users is nobody"],
        ),
        ([*RUN, "partition.users=2600"], ["2600 style users", "choose users=1 to 500"]),
        # data that are not there
        (["run", "data=qmnist", "data.path=nowhere"], ["nowhere/qmnist-train", "data.path"]),
        (["run", "data=femnist_leaf"], ["data.path=FOLDER"]),
        (["run", "data=femnist_leaf", "data.path=nowhere"], ["nowhere: no LEAF shard"]),
        (["run", "data=fedemnist", "data.path=nowhere"], ["nowhere: no such file", "data.path"]),
        (["run", "data=digits5k", "data.path=here"], ["no key 'path' in data=digits5k"]),
        # tracking that could never work
        ([*RUN, "tracking=mlflow", "tracking.uri=ftp://x"], ["no scheme ftp", "sqlite:///FILE"]),
        ([*RUN, "tracking=mlflow", "tracking.uri=mlruns"], ["no longer writes to folders"]),
        ([*SUITE, "tracking=mlflow", "tracking.uri=ftp://x"], ["no scheme ftp"]),
        ([*RUN, "tracking=mlflow", "tracking.flush_seconds=0"], ["flush_seconds must be positive"]),
        ([*RUN, "tracking=mlflow", "tracking.experiment=../../x"], ["without a slash", "../../x"]),
        (
            [*SUITE, "tracking=mlflow", "tracking.experiment=.."],
            ["tracking.experiment", "not . or"],
        ),
        ([*RUN, "tracking.uri=sqlite:///x.db"], ["no key 'uri' in tracking=none"]),
        # devices
        ([*RUN, "engine=cpu", "device=cuda"], ["this engine runs on cpu", "engine=reference"]),
        # parameter files
        (["suite", "smoke", "--params", "none.yaml"], ["none.yaml: no such file; make params"]),
        (["partition", "--params", "none.yaml"], ["none.yaml: no such file; make params"]),
        (["suite", "smoke", "--params", "."], [".: Is a directory"]),
    ],
)
def test_what_is_typed(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: Words
) -> None:
    before = files(workplace)
    fault = call(capsys, *arguments).fault
    for word in words:
        assert word in fault
    assert files(workplace) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = [word for word in RUN if not word.startswith("engine.")]
    answer = call(capsys, *reference, "engine=reference", "device=cuda")
    assert "device=cuda: no CUDA device is visible; valid: auto, cpu" in answer.fault


@pytest.mark.parametrize("verb", [RUN, SUITE])
@pytest.mark.parametrize("place", ["afile", "afile/deeper"])
def test_results_that_cannot_be_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...], place: str
) -> None:
    (workplace / "afile").write_text("text")
    before = files(workplace)
    answer = call(capsys, *verb, "tracking=mlflow", "--results", place)
    assert "afile" in answer.fault
    assert "Not a directory" in answer.fault or "File exists" in answer.fault
    assert files(workplace) == before


def spoil(name: str, damage: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        damage(folder / name)

    return act


def flip(path: Path) -> None:
    array = np.load(path)
    array.flat[0] ^= 1
    np.save(path, array)


@pytest.mark.parametrize("verb", [RUN, SUITE])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (spoil("manifest.json", lambda p: p.write_text("{")), ["manifest.json", "corrupt"]),
        (spoil("manifest.json", Path.unlink), ["manifest.json: no such file"]),
        (spoil("configuration.json", lambda p: p.write_text("{")), ["configuration.json: corrupt"]),
        (spoil("train_images.npy", flip), ["train_images.npy", "it was changed"]),
        (spoil("test_labels.npy", lambda p: p.write_bytes(b"")), ["test_labels.npy", "truncated"]),
        (spoil("train_offsets.npy", Path.unlink), ["train_offsets.npy: no such file"]),
    ],
)
def test_a_partition_that_was_damaged(
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    verb: tuple[str, ...],
    damage: Callable[[Path], None],
    words: Words,
) -> None:
    from benchmark.run.training import resident

    resident.cache_clear()
    (folder,) = (path for path in (workplace / "data").iterdir() if path.is_dir())
    damage(folder)
    before = files(workplace)
    fault = call(capsys, *verb).fault
    for word in [*words, "partition"]:
        assert word in fault
    assert files(workplace) == before


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, partitioned: Path) -> Path:
    """A folder of results with one record, as ``run`` and as a suite of one cell."""
    from benchmark.run.cell import Cell
    from benchmark.run.runner import run as run_cell
    from benchmark.run.suite import Suite, write_manifest

    folder = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(partitioned, folder / "data")
        cell = Cell.of(TINY)
        run_cell(cell, folder / "results" / "runs")
    shutil.copytree(folder / "results" / "runs", folder / "results" / "smoke")
    write_manifest(Suite.read("smoke"), [cell], folder / "results" / "smoke")
    return folder / "results"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def later_version(path: Path) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "schema_version": 99}))


@pytest.mark.parametrize(
    ("file", "damage", "arguments", "words"),
    [
        ("suite.json", halve, ["leaderboard", "smoke"], ["suite.json: corrupt", "suite smoke"]),
        ("suite.json", lambda p: p.write_text("[]"), ["leaderboard", "smoke"], ["corrupt"]),
        (
            "suite.json",
            lambda p: p.write_text('{"cells": [1]}'),
            ["leaderboard", "smoke"],
            ["suite.json: corrupt"],
        ),
        ("suite.json", Path.unlink, ["leaderboard", "smoke"], ["no results", "suite smoke"]),
        ("records/*", halve, ["leaderboard", "smoke"], [".json: not a record"]),
        ("records/*", later_version, ["leaderboard", "smoke"], ["version 99", "reads version 1"]),
        ("records/*", Path.unlink, ["leaderboard", "smoke"], ["no records", "suite smoke"]),
        ("records/*", halve, ["run", "--json", *TINY], [".json: not a record"]),
    ],
)
def test_results_that_were_damaged(
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    ran: Path,
    file: str,
    damage: Callable[[Path], object],
    arguments: list[str],
    words: Words,
) -> None:
    shutil.copytree(ran, workplace / "results")
    for name in ("runs", "smoke"):
        for path in (workplace / "results" / name).glob(file):
            damage(path)
    before = files(workplace)
    fault = call(capsys, *arguments).fault
    for word in words:
        assert word in fault
    assert files(workplace) == before


def test_a_suite_file_of_another_suite(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "params", "smoke").status == 0
    answer = call(capsys, "suite", "default", "--params", "params.yaml")
    assert "params.yaml: holds suite smoke, not default" in answer.fault


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--frob"], ["unknown argument '--frob'"]),
        (["bogus"], ["invalid choice: 'bogus'"]),
        (["suite", "smoke", "--workers", "x"], ["invalid int value: 'x'"]),
        pytest.param(["run", "attack=boostd"], ["did you mean 'boosted'?"], marks=pytest.mark.slow),
    ],
)
def test_a_process_of_its_own_ends_so_too(
    tmp_path: Path, arguments: list[str], words: Words
) -> None:
    answer: Answer = command(*arguments, cwd=tmp_path)
    for word in words:
        assert word in answer.fault
    assert files(tmp_path) == set()
