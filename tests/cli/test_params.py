"""``params.yaml`` is what ``conf/`` gives, and its edits are overrides."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.cli import params
from benchmark.config.compose import compose
from benchmark.config.overrides import GROUPS
from benchmark.config.plugins import available
from benchmark.run.studies import StudySettings
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from tests.support.running import ROOT, Answer, call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    params.write("smoke", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def edit(file: Path, **changes: Any) -> None:
    """Set ``group__key`` or a whole ``key``."""
    content = yaml.safe_load(file.read_text())
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        node = content
        for part in parents:
            node = node[part]
        node[leaf] = value
    file.write_text(yaml.safe_dump(content))


def points(suite: Suite, edits: list[str]) -> list[dict[str, Any]]:
    return [compose([*overrides, *edits]) for overrides in suite.grid()]


def test_the_file_in_the_repository_is_what_conf_gives(tmp_path: Path) -> None:
    params.write("default", tmp_path / "params.yaml")
    expected, found = (tmp_path / "params.yaml").read_text(), (ROOT / "params.yaml").read_text()
    assert found == expected, "params.yaml is not what conf/ gives: run `make params`"


@pytest.mark.parametrize("name", available("suite"))
def test_a_file_that_nobody_edited_is_the_suite(name: str, tmp_path: Path) -> None:
    params.write(name, tmp_path / "params.yaml")
    suite, edits = params.read(tmp_path / "params.yaml")
    assert edits == []
    assert suite == Suite.read(name)


def test_everything_that_changes_a_result_stands_in_it_or_is_an_axis() -> None:
    content = params.of("smoke")
    groups = {"attack", "defense", "seed", "tracking"}
    assert content.keys() | groups == {"suite", "tuning", "device", "seed", *GROUPS}
    assert "_target_" not in str(content)
    resolved = compose(Suite.read("smoke").overrides)
    for group in content.keys() & set(GROUPS):
        assert content[group].keys() == resolved[group].keys() - {"_target_"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"federation__rounds": 7}, ["federation.rounds=7"]),
        ({"federation__client_lr": 1}, ["federation.client_lr=1"]),
        ({"participation__window": [0, 2]}, ["participation.window=[0,2]"]),
        ({"federation__replacement": True}, ["federation.replacement=true"]),
        ({"device": "cpu"}, ["device=cpu"]),
        ({"model": {"name": "paper", "dropout": False}}, ["model=paper", "model.dropout=false"]),
        (
            {"participation": {"name": "random_sampling", "fraction": 0.1}},
            ["participation=random_sampling", "participation.fraction=0.1"],
        ),
        (
            {"data": {"name": "qmnist", "path": "/a b"}},
            ["data=qmnist", "federation=small", "partition=style", "data.path=/a b"],
        ),
    ],
)
def test_an_edit_is_an_override(file: Path, changes: dict[str, Any], expected: list[str]) -> None:
    edit(file, **changes)
    suite, edits = params.read(file)
    assert edits == expected
    for resolved in points(suite, edits):
        for path, value in changes.items():
            node: Any = resolved
            for part in path.split("__"):
                node = node[part]
            if isinstance(value, dict):
                assert value.items() <= node.items()
            else:
                assert node == value


def test_another_data_set_keeps_the_partition_and_the_protocol_that_stand_there(file: Path) -> None:
    edit(file, data={"name": "qmnist", "path": "there"})
    for resolved in points(*params.read(file)):
        assert resolved["data"]["name"] == "qmnist"
        assert resolved["partition"]["name"] == "style"
        assert resolved["federation"]["rounds"] == 4


def test_axes_and_seeds_may_be_edited(file: Path) -> None:
    edit(file, suite__seeds=[3, 4], suite__axes={"defense": ["weak_dp"]})
    found = points(*params.read(file))
    assert [(p["defense"]["name"], p["seed"]) for p in found] == [("weak_dp", 3), ("weak_dp", 4)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", ["not a parameter file", "make params"]),
        ("", ["not a parameter file", "make params"]),
        ("- 1", ["not a parameter file", "make params"]),
        ("text", ["not a parameter file", "make params"]),
        ("federation: {}", ["not a parameter file", "suite"]),
        ("suite: 3", ["not a parameter file"]),
        ("suite: {name: 3}", ["not a parameter file: must hold suite, a mapping with the name"]),
        (
            "suite: {name: smoke, axes: {}, seeds: [0], overrides: [3]}",
            ["overrides.0 must be text"],
        ),
        ("suite: {name: smoke, axes: 3, seeds: [0]}", ["axes must be a mapping, got 3"]),
        ("suite: {name: smoke, axes: {}, seeds: 3}", ["seeds must be a list, got 3"]),
        ("suite: {name: smok}", ["no suite 'smok'", "did you mean 'smoke'?"]),
        ("suite: {name: smoke}\ndata: {path: x}", ["not a parameter file", "name"]),
        ("suite: {name: smoke}\ndata: {name: mnist}", ["no data 'mnist'", "qmnist"]),
        ("suite: {name: smoke}", ["suite smoke: axes is missing"]),
        ("suite: {name: smoke, axes: {}, seeds: []}", ["at least one seed"]),
        ("suite: {name: smoke, axes: {}, seeds: [0], more: 1}", ["no key 'more'"]),
    ],
)
def test_what_is_no_parameter_file_is_named(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        params.read(file)
    for word in words:
        assert word in str(caught.value)


def test_other_bytes_and_no_file(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a parameter file"):
        params.read(file)
    file.unlink()
    with pytest.raises(UserError, match="no such file; make params"):
        params.read(file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bogus": 1}, ["no key 'bogus'", "valid: attack"]),
        ({"federation__round": 3}, ["no key 'round' in federation", "did you mean 'rounds'?"]),
        ({"federation__rounds": "many"}, ["federation.rounds: expected a whole number"]),
        ({"suite__axes": {"atack": ["none"]}}, ["no key 'atack'", "did you mean 'attack'?"]),
        ({"suite__axes": {"attack": ["nobody"]}}, ["no attack 'nobody'", "valid: ", ", boosted, "]),
        ({"suite__seeds": ["a"]}, ["suite smoke: seeds.0 must be a whole number", "'a'"]),
    ],
)
def test_what_is_wrong_in_it_is_refused_by_the_suite(
    workplace: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    words: list[str],
) -> None:
    edit(file, **changes)
    answer: Answer = call(capsys, "suite", "smoke", "--params", file)
    for word in words:
        assert word in answer.fault
    assert not (workplace / "results").exists()


def test_the_tuning_that_completes_a_suite(file: Path) -> None:
    settings, shared = params.read_tuning(file)
    assert settings == StudySettings.read("smoke")
    assert shared == Suite.read("smoke").overrides
    edit(file, tuning__trials=7, federation__rounds=9)
    settings, shared = params.read_tuning(file)
    assert settings.trials == 7
    assert shared == [*Suite.read("smoke").overrides, "federation.rounds=9"]
    edit(file, tuning=3)
    with pytest.raises(UserError, match="tuning: must be a mapping, got 3"):
        params.read_tuning(file)


def test_a_suite_without_a_tuning_of_its_own_has_the_default() -> None:
    assert (
        StudySettings.read("smoke")
        != StudySettings.read("default")
        == StudySettings.read("another")
    )


def test_the_verb_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "params", "smoke", "--out", tmp_path / "p.yaml")
    assert (answer.status, answer.out) == (0, f"{tmp_path / 'p.yaml'}\n")
    assert yaml.safe_load((tmp_path / "p.yaml").read_text()) == params.of("smoke")


def test_the_pipeline_follows_parameters_that_are_there_and_no_lock_of_another_commit() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    there = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in stages.values():
        for key in stage.get("do", stage).get("params", []):
            assert key.partition(".")[0] in there
    listed = subprocess.run(
        ["git", "ls-files", "dvc.lock"], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.stdout == ""
