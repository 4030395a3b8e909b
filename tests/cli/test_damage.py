"""Files that were edited by hand, cut or come from elsewhere: one line that says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.run.record import Record
from benchmark.utils.files import write_json
from tests.support.running import call
from tests.support.searches import search
from tests.support.synthetic import record

Damage = Callable[[Path], object]


def put(*keys: str | int, value: Any) -> Damage:
    """Another value below these keys."""

    def change(path: Path) -> None:
        whole = json.loads(path.read_text(encoding="utf-8"))
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(whole), encoding="utf-8")

    return change


def take(*keys: str) -> Damage:
    """No such key any more."""

    def change(path: Path) -> None:
        whole = json.loads(path.read_text(encoding="utf-8"))
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        path.write_text(json.dumps(whole), encoding="utf-8")

    return change


def text(content: str | bytes) -> Damage:
    return lambda path: path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


ANY_FILE = [
    (text(""), "damaged"),
    (text(b"\xff\xfe{}"), "damaged"),
    (text("[" * 100_000), "damaged"),
    (text('{"a": NaN}'), "damaged"),
    (text("[1, 2]"), "damaged"),
]
CURVE = ("curves", "main_accuracy")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite's folder with two records."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "smoke"
    made = [record(), record(seed=1)]
    for each in made:
        each.write(folder / "records" / f"{each.cell}.json")
    listed = [{"cell": each.cell, "overrides": each.overrides} for each in made]
    shape = {"description": "two runs", "overrides": [], "axes": {}, "seeds": [0, 1]}
    write_json(
        folder / "suite.json", {"name": "smoke", **shape, "cells": listed, "schema_version": 1}
    )
    return folder


def refused(capsys: pytest.CaptureFixture[str], results: Path, *words: object) -> str:
    """The one line of a command that wrote nothing."""
    before = sorted(results.parent.rglob("*"))
    fault = call(capsys, *words).fault
    assert sorted(results.parent.rglob("*")) == before
    return fault


@pytest.mark.parametrize("verb", ["leaderboard", "export"])
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        *ANY_FILE,
        (take("data"), "data"),
        (take("cost", "device"), "cost.device"),
        (put("seed", value=[1]), "seed"),
        (put("seed", value="1"), "seed"),
        (put("seed", value=True), "seed"),
        (put("config", value="text"), "config"),
        (take("config", "defense"), "defense"),
        (put(*CURVE, value="text"), "curves.main_accuracy"),
        (put(*CURVE, "values", value=["a"]), "curves.main_accuracy.values"),
        (put(*CURVE, "rounds", value=[1, 2]), "curves.main_accuracy"),
        (put("summary", "main_accuracy", "final", value="0.9"), "summary.main_accuracy.final"),
        (put("summary", "main_accuracy", "final", value=7.0), "not the one that was written"),
        (put("config", "defense", "name", value="other"), "not the one that was written"),
        (put("schema_version", value=1), "not the one that was written"),
        (take("checksum"), "not a record: checksum is missing"),
        (put("checksum", value=None), "not a record: checksum is missing"),
        (put("notes", value=["\x1b[2Jgone"]), "notes holds control characters"),
        (put("config", "a\x9b", value=1), "config holds control characters"),
        (put("overrides", value={"a": 1}), "overrides"),
        (put("another", value=1), "another"),
        (put("schema_version", value=99), "99"),
        (put("cell", value="another-cell-s0-0"), "another-cell-s0-0"),
        (put("cost", "environment", value=[]), "cost.environment"),
    ],
)
def test_a_damaged_record_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], verb: str, damage: Damage, what: str
) -> None:
    path = results / "records" / f"{record().cell}.json"
    damage(path)
    arguments = ["--format", "csv"] if verb == "export" else []
    fault = refused(capsys, results, verb, "smoke", *arguments)
    assert path.name in fault
    assert what == "damaged" or what in fault


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        *ANY_FILE,
        (take("cells"), "cells"),
        (put("cells", value="all"), "cells"),
        (put("schema_version", value=2), "of schema version 2, this program reads version 1"),
        (put("cells", 0, value="one"), "cells"),
        (put("cells", 0, value={"overrides": []}), "cell"),
    ],
)
def test_a_damaged_manifest_of_a_suite_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], damage: Damage, what: str
) -> None:
    damage(results / "suite.json")
    fault = refused(capsys, results, "leaderboard", "smoke")
    assert "suite.json" in fault
    assert what == "damaged" or what in fault


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        *ANY_FILE,
        (take("description"), "description"),
        (put("trials", value=7), "trials"),
        (put("fresh_seeds", value=["a"]), "fresh_seeds"),
        (put("schema_version", value=99), "99"),
        (put("winner", value="best"), "winner"),
    ],
)
def test_a_damaged_result_of_a_study_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], damage: Damage, what: str
) -> None:
    search(results.parent, Record.read(results / "records" / f"{record().cell}.json"))
    (path,) = results.parent.glob("tuning-*/tuning.json")
    damage(path)
    fault = refused(capsys, results, "leaderboard", "smoke")
    assert "tuning.json" in fault
    assert what == "damaged" or what in fault


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x1f\x8b\x08\x00cut", b"\x1f\x8b" + bytes(100)]
)
def test_damaged_evidence_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = results / "evidence.json.gz"
    path.write_bytes(content)
    assert "evidence.json.gz" in refused(capsys, results, "report", path, "--out", "out")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "p.yaml"),
        ("[1]", "p.yaml"),
        ("suite: 7", "suite"),
        ("suite: {name: smoke, seeds: [a], axes: {}}", "seeds"),
        ("suite: {name: smoke, axes: {attack: {a: b}}, seeds: [0]}", "attack"),
        ("suite: {name: [smoke]}", "name"),
        ("suite: {name: smoke}\nfederation: 7", "federation"),
        ("a: &a [*a]", "p.yaml"),
    ],
)
def test_a_damaged_parameter_file_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], content: str, what: str
) -> None:
    Path("p.yaml").write_text(content)
    assert what in refused(capsys, results, "suite", "smoke", "--params", "p.yaml")


def test_what_is_sound_is_taken(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "leaderboard", "smoke").status == 0
    assert call(capsys, "export", "smoke", "--format", "csv").status == 0
