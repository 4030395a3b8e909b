"""A partition folder that was damaged: the file is named, and how to mend it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.partitions.iid import Iid
from benchmark.data.store import build, load
from benchmark.utils.errors import UserError
from tests.support import data_files
from tests.support.data_files import Fixed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(Fixed(data_files.samples([0, 1, 2] * 8)), Iid(users=3), tmp_path / "data")
    return tmp_path / "data"


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change_a_value(path: Path) -> None:
    array = np.load(path)
    array.flat[2] ^= 1
    np.save(path, array)


def widen(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int64))


def pickle(path: Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "damage", "fault"),
    [
        ("train_images.npy", Path.unlink, "no such file"),
        ("train_images.npy", truncate, "truncated or corrupt"),
        ("train_images.npy", change_a_value, "changed"),
        ("test_labels.npy", change_a_value, "changed"),
        ("test_labels.npy", widen, "changed"),
        ("train_offsets.npy", change_a_value, "changed"),
        ("test_offsets.npy", lambda path: path.write_bytes(b""), "truncated or corrupt"),
        ("test_images.npy", lambda path: path.write_text("text"), "truncated or corrupt"),
        ("test_images.npy", pickle, "truncated or corrupt"),
        ("manifest.json", Path.unlink, "python -m benchmark partition"),
        ("manifest.json", lambda path: path.write_text('{"schema": 1,'), "truncated, corrupt"),
        ("manifest.json", lambda path: path.write_text("[]"), "not a manifest"),
        ("manifest.json", edit(lambda manifest: manifest.update(schema=99)), "schema 2"),
        ("manifest.json", edit(lambda manifest: manifest.pop("users")), "it was changed"),
        ("manifest.json", edit(lambda m: m["arrays"].popitem()), "it was changed"),
        ("manifest.json", edit(lambda manifest: manifest.update(hash="0" * 64)), "it was changed"),
        ("manifest.json", edit(lambda m: m.update(num_classes=12)), "it was changed"),
        ("manifest.json", lambda path: path.write_text("[" * 100_000), "truncated, corrupt"),
    ],
)
def test_damage_is_named(
    folder: Path, file: str, damage: Callable[[Path], object], fault: str
) -> None:
    damage(folder / file)
    with pytest.raises(UserError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder / file) in message
    assert fault in message
    assert "python -m benchmark partition" in message
    assert "\n" not in message
