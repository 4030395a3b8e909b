"""The record: what is written is what is read, and nothing else is taken for one."""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import compose
from benchmark.run.record import SCHEMA_VERSION, Curve, Record, Summary
from benchmark.utils.errors import UserError
from tests.support import synthetic


@pytest.fixture
def record() -> Record:
    return synthetic.record("boosted", "norm_clip", 3, notes=["a note"], run_id="f00d")


def test_what_is_written_is_read_again(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"{record.cell}.json"
    record.write(path)
    again = Record.read(path)
    assert again == replace(record, checksum=again.checksum)
    assert again.checksum
    assert type(again.curves["main_accuracy"]) is Curve
    assert type(again.summary["main_accuracy"]) is Summary


def test_a_record_from_before_there_were_checksums_is_read(record: Record, tmp_path: Path) -> None:
    path = tmp_path / f"{record.cell}.json"
    earlier = replace(record, schema_version=1)
    path.write_text(json.dumps(asdict(earlier)), encoding="utf-8")
    assert Record.read(path) == earlier
    earlier.write(path)
    assert Record.read(path).result() == earlier.result()


def test_numbers_are_numbers_and_text_is_text(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    replace(record, notes=["Größe 7 → 1"]).write(path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["schema_version"] == SCHEMA_VERSION
    assert raw["seed"] == 3
    assert all(type(v) is float for v in raw["curves"]["main_accuracy"]["values"])
    assert "Größe 7 → 1" in path.read_text(encoding="utf-8")


def test_what_is_no_number_is_refused_and_leaves_nothing(record: Record, tmp_path: Path) -> None:
    broken = replace(record, curves={"main_accuracy": Curve([0], [float("nan")])})
    with pytest.raises(UserError, match="must be a finite number, got nan"):
        broken.write(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_the_result_leaves_out_what_differs_from_run_to_run(record: Record) -> None:
    slower = replace(record, cost=replace(record.cost, round_seconds=[99.0])).with_run("beef")
    assert slower != record
    assert slower.result() == record.result()
    assert replace(record, weights_sha256="0").result() != record.result()
    assert replace(record, curves={}).result() != record.result()


@pytest.mark.parametrize("path", ["/plain/path", "/with space/and,comma", "it's [here]", "$HOME"])
def test_the_command_survives_a_shell_and_the_override_grammar(record: Record, path: str) -> None:
    from benchmark.config.overrides import literal

    overrides = ["data=qmnist", f"data.path={literal(path)}", "participation.window=[1,2]"]
    words = shlex.split(replace(record, overrides=overrides).command)
    assert words[:4] == ["python", "-m", "benchmark", "run"]
    resolved = compose(words[4:])
    assert resolved["data"]["path"] == path
    assert resolved["participation"]["window"] == [1, 2]


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        raw = json.loads(text)
        change(raw)
        return json.dumps(raw)

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text[: len(text) // 2], ["not a record"]),
        (lambda text: "", ["not a record"]),
        (lambda text: "[]", ["not a record"]),
        (lambda text: "null", ["not a record"]),
        (changed(lambda raw: raw.update(schema_version=99)), ["version 99", "reads version 1"]),
        (changed(lambda raw: raw.pop("schema_version")), ["version None", "reads version 1"]),
        (changed(lambda raw: raw.pop("seed")), ["not a record", "seed"]),
        (changed(lambda raw: raw.update(more=1)), ["not a record", "more"]),
        (changed(lambda raw: raw.update(curves=[])), ["not a record"]),
        (changed(lambda raw: raw.update(summary={"x": {"final": 1}})), ["not a record"]),
        (changed(lambda raw: raw["cost"].pop("device")), ["not a record", "device"]),
    ],
)
def test_what_is_no_record_is_named(
    record: Record, tmp_path: Path, edit: Callable[[str], str], words: list[str]
) -> None:
    path = tmp_path / "record.json"
    record.write(path)
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Record.read(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_other_bytes_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with pytest.raises(UserError, match="no such record"):
        Record.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a record"):
        Record.read(path)
