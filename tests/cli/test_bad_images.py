"""Images of one's own with whatever is wrong: one line, exit status 2, nothing half-written."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data_files import (
    colors,
    encoded,
    hub_images,
    pack,
    write_cifar10,
    write_images,
    write_table,
)
from tests.support.running import call

PLACES = ["ann/cat/1.png", "ann/dog/1.png", "bob/cat/1.png", "bob/dog/1.png"]
PNG = encoded(colors(1)[0])
LABELS, USERS = [0, 1, 0, 1], ["a", "a", "b", "b"]

Case = tuple[Callable[[Path], Any], list[str], list[str]]
"""What makes the data at a path, overrides of the command, words of the refusal."""


def bomb(rows: int = 60_000, columns: int = 60_000) -> bytes:
    """A PNG whose header promises gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def folder(change: Callable[[Path], object], *words: str) -> Case:
    """A sound folder, changed."""

    def make(path: Path) -> None:
        change(write_images(path, PLACES))

    return make, ["data=folder"], list(words)


def put(place: str, content: bytes = PNG) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / place).parent.mkdir(parents=True, exist_ok=True)
        (path / place).write_bytes(content)

    return change


def drop(*places: str) -> Callable[[Path], object]:
    return lambda path: [(path / place).unlink() for place in places]


def table(columns: dict[str, Any], words: list[str], *overrides: str) -> Case:
    """A table of four images, changed."""
    sound = {"image": hub_images(colors(4)), "label": LABELS, "who": USERS}

    def make(path: Path) -> None:
        changed = {key: value for key, value in {**sound, **columns}.items() if value is not None}
        write_table(path / "train.parquet", changed)

    return make, ["data=parquet", "data.user=who", *overrides], words


def raw_table(content: Callable[[bytes], bytes], *words: str) -> Case:
    make, overrides, _ = table({}, [])

    def cut(path: Path) -> None:
        make(path)
        file = path / "train.parquet"
        file.write_bytes(content(file.read_bytes()))

    return cut, overrides, ["train.parquet", *words]


def arrays(changes: dict[str, Any], words: list[str], *overrides: str) -> Case:
    """Arrays of four images, changed."""
    sound = {"images": colors(4), "labels": LABELS, "users": USERS}

    def make(path: Path) -> None:
        given = {key: value for key, value in {**sound, **changes}.items() if value is not None}
        with path.open("wb") as file:
            np.savez(file, **given)

    return make, ["data=npz", *overrides], words


def promising(descr: str, *shape: int, content: bytes = b"") -> Callable[[Path], None]:
    """Images of numpy's whose header says so, and what follows it."""

    def make(path: Path) -> None:
        member = io.BytesIO()
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("images.npy", member.getvalue() + content)
            file.writestr("labels.npy", b"")

    return make


def damaged(path: Path) -> None:
    """A member whose compressor raises what neither zipfile nor numpy does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("images.npy", np.random.default_rng(0).bytes(1000))
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"\xff" * 8 + content[68:])


def cifar10(change: Callable[[Path], object], *words: str) -> Case:
    def make(path: Path) -> None:
        change(write_cifar10(path, records=4))

    return make, ["data=cifar10", "partition.users=2"], list(words)


def python_version(path: Path) -> None:
    for file in path.iterdir():
        file.rename(file.with_suffix(""))
    pack(path, path / "cifar-10-binary.tar.gz", "cifar-10-batches-py/")


SIXTEEN = encoded(np.zeros((8, 8), np.uint16))
BAD: dict[str, Case] = {
    "folder: no path": (lambda path: None, ["data=folder", "data.path=null"], ["data.path=PATH"]),
    "folder: absent": (lambda path: None, ["data=folder"], ["given: no such folder"]),
    "folder: empty": (lambda path: path.mkdir(), ["data=folder"], ["no image there"]),
    "folder: mixed sizes": folder(put("ann/cat/2.png", encoded(colors(1, 9)[0])),
                                  "cat/2.png: 9 x 9 pixels", "cat/1.png has 8 x 8", "one size"),
    "folder: truncated image": folder(put("ann/cat/2.png", PNG[:-40]), "cat/2.png: truncated"),
    "folder: damaged image": folder(put("ann/cat/2.png", PNG[:60] + b"00000" + PNG[65:]),
                                    "cat/2.png: truncated or corrupt"),
    "folder: empty file": folder(put("ann/cat/2.png", b""), "cat/2.png: not an image"),
    "folder: text": folder(put("ann/cat/2.png", b"hello"), "cat/2.png: not an image"),
    "folder: postscript": folder(put("ann/cat/2.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
                                 "not an image, or none of PNG"),
    "folder: image bomb": folder(put("ann/cat/2.png", bomb()), "2.png: more than the 1,048,576"),
    "folder: large image": folder(put("ann/cat/2.png", bomb(2000, 2000)), "more than the"),
    "folder: 16 bits": folder(put("ann/cat/2.png", SIXTEEN), "2.png: pixels of mode I;16"),
    "folder: notes": folder(put("ann/cat/notes.txt"), "notes.txt: no file of .png", "remove it"),
    "folder: a pipe": folder(lambda path: os.mkfifo(path / "ann" / "cat" / "2.png"), "no file of"),
    "folder: a large file": folder(put("ann/cat/2.png", PNG + bytes(2**24)), "16,777,216 bytes"),
    "folder: no UTF-8": folder(put("eve\udcff/cat/1.png"), "users or classes are not UTF-8"),
    "folder: nested deep": folder(put("eve/cat/old/2.png"), "eve/cat/old/2.png", "USER/CLASS/"),
    "folder: too shallow": folder(put("3.png"), "USER/CLASS/", "3.png"),
    "folder: class without images": folder(lambda path: (path / "bob" / "emu").mkdir(),
                                           "class 2 (emu) of 3 has no image"),
    "folder: one class": folder(drop("ann/dog/1.png", "bob/dog/1.png"), "class 1 (dog)"),
    "folder: one user": folder(drop("bob/cat/1.png", "bob/dog/1.png"), "one user, ann",
                               "partition=dirichlet"),
    "parquet: no file": (lambda path: path.mkdir(), ["data=parquet"], ["no *.parquet to train on"]),
    "parquet: absent": (lambda path: None, ["data=parquet"], ["given: no such file or folder"]),
    "parquet: only test": (lambda path: write_table(path / "test.parquet", {"image": [b""]}),
                           ["data=parquet"], ["no *.parquet to train on"]),
    "parquet: missing column": table({"image": None}, ["no column 'image'", "data.image", "who"]),
    "parquet: missing user": table({"who": None}, ["no column 'who'", "data.user", "label"]),
    "parquet: no rows": table({"image": [], "label": [], "who": []}, ["train.parquet: no rows"]),
    "parquet: truncated": raw_table(lambda c: c[:-20], "truncated"),
    "parquet: damaged": raw_table(lambda c: c[:300] + bytes(400) + c[700:], "corrupt"),
    "parquet: not parquet": raw_table(lambda c: b"<html>not found</html>", "no parquet file"),
    "parquet: labels as text": table({"label": ["cat", "dog"] * 2},
                                     ["column label", "text", "data.classes=[cat,dog]"]),
    "parquet: unknown class": table({"label": ["cat", "dog", "cat", "dgo"]},
                                    ["'dgo' is no class of data.classes; valid: cat, dog"],
                                    "data.classes=[cat,dog]"),
    "parquet: label outside": table({"label": [0, 1, 0, 2]}, ["label 2 is outside", "0 to 1"],
                                    "data.classes=[cat,dog]"),
    "parquet: negative label": table({"label": [0, 1, 0, -1]}, ["label -1 is outside"]),
    "parquet: counted from 1": table({"label": [1, 2, 1, 2]}, ["class 0 of 3 has no image"]),
    "parquet: fractions": table({"label": [0.5, 1, 0, 1]}, ["labels must be whole numbers"]),
    "parquet: label missing": table({"label": [0, None, 0, 1]}, ["label: a value is missing"]),
    "parquet: user missing": table({"who": ["a", None, "b", "b"]}, ["who: a value is missing"]),
    "parquet: one user": table({"who": ["a"] * 4}, ["one user, a", "partition=dirichlet"]),
    "parquet: no image": table({"image": [*hub_images(colors(3)), {"bytes": None}]},
                               ["row 3 has no image"]),
    "parquet: mixed sizes": table({"image": [PNG, PNG, PNG, encoded(colors(1, 9)[0])]},
                                  ["row 3: 9 x 9 pixels"]),
    "parquet: ragged lists": table({"image": [[[1, 2], [3, 4]]] * 3 + [[[1, 2], [3]]]},
                                   ["one size"]),
    "parquet: flat lists": table({"image": [[1, 2, 3, 4]] * 4}, ["(n, H, W)", "(4, 4)"]),
    "parquet: pixel 256": table({"image": [[[1, 256]]] * 4}, ["whole numbers from 0 to 255"]),
    "parquet: pixel 1.5": table({"image": [[[1.5, 0]]] * 4}, ["within [0, 1]"]),
    "parquet: a bomb": table({"image": [bomb()] * 4}, ["row 0: more than the 1,048,576"]),
    "parquet: text for images": table({"image": list("abcd")}, ["nested lists", "string"]),
    "npz: absent": (lambda path: None, ["data=npz"], ["no such file"]),
    "npz: not a zip": (lambda path: path.write_bytes(b"hello"), ["data=npz"], ["no npz"]),
    "npz: no labels": arrays({"labels": None}, ["no array 'labels'; it holds images, users"]),
    "npz: pickled": arrays({"labels": np.array([{}, 1, 2, 3], object)}, ["labels holds objects"]),
    "npz: promises": (promising("|u1", 10**6, 1000, 1000), ["data=npz"], ["or other than 10000"]),
    "npz: a terabyte of nothing": (promising("<U0", 10**12), ["data=npz"], ["nothing, or other"]),
    "npz: a shape of truths": (promising("|u1", True, True, content=b"a"), ["data=npz"],
                               ["no npz (an integer is required)"]),
    "npz: damaged": (damaged, ["data=npz"], ["no npz (Corrupt input data)"]),
    "npz: fewer labels": arrays({"labels": [0, 1]}, ["labels must be (4,)", "got (2,)"]),
    "npz: labels as text": arrays({"labels": ["cat", "dog"] * 2}, ["data.classes=[cat,dog]"]),
    "npz: one axis": arrays({"images": np.zeros(4)}, ["(n, H, W)", "got (4)"]),
    "npz: two channels": arrays({"images": np.zeros((4, 2, 8, 8), "u1")}, ["1 or 3 channels"]),
    "npz: no pixels": arrays({"images": np.zeros((4, 0, 8), "u1")}, ["1 to 1,048,576 pixels"]),
    "npz: NaN": arrays({"images": np.full((4, 8, 8), np.nan)}, ["within [0, 1], found nan"]),
    "npz: users of floats": arrays({"users": [0.5, 1, 1, 1]}, ["users must be whole numbers or"]),
    "npz: test in numbers": arrays({"test": [0, 0, 1, 1]}, ["test must be true or false"]),
    "npz: all is test": arrays({"test": [True] * 4}, ["class 0 of 2 has no image to train on"]),
    "cifar10: short file": cifar10(lambda path: None, "data_batch_1.bin", "got 12292: truncated"),
    "cifar10: missing file": cifar10(drop("data_batch_1.bin"), "data_batch_1.bin: no such file"),
    "cifar10: pickled version": cifar10(python_version, "holds no data_batch_1.bin", "binary"),
    "cifar10: no archive": cifar10(put("cifar-10-binary.tar.gz", b"hello"), "no tar.gz"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    make, overrides, words = case
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make(tmp_path / "given")
    before = sorted(tmp_path.rglob("*"))
    fault = call(capsys, "partition", f"data.path={tmp_path / 'given'}", *overrides).fault
    for word in words:
        assert word in fault
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert [path.name for path in left if not path.name.endswith(".lock")] == []
