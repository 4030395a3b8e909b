"""Images that a user brings: every layout that is read, and what comes of it."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmark.data.partitions.dirichlet import Dirichlet
from benchmark.data.partitions.writer import Writer
from benchmark.data.samples import Samples
from benchmark.data.sources.cifar10 import ARCHIVE, NAMES, Cifar10
from benchmark.data.sources.folder import Folder
from benchmark.data.sources.npz import Npz
from benchmark.data.sources.parquet import Parquet
from benchmark.data.store import build, load
from tests.support import data_files
from tests.support.data_files import SHARED, colors, encoded, hub_images, write_images, write_table

PIXELS = colors(6)
FIRST = PIXELS.transpose(0, 3, 1, 2)
LABELS = [0, 1, 0, 1, 0, 1]


def of(samples: Samples) -> tuple[Any, ...]:
    """Users by name, labels and split."""
    users = None
    if samples.writers is not None:
        users = [samples.writer_names[writer] for writer in samples.writers]
    return users, samples.labels.tolist(), samples.is_test


# Folders


def test_a_folder_of_users_and_classes(tmp_path: Path) -> None:
    places = ["ann/cat/1.png", "ann/dog/1.PNG", "bob/cat/1.png", "bob/dog/2.png"]
    folder = write_images(tmp_path, places, PIXELS[:4])
    (folder / "ann" / ".DS_Store").write_text("hidden")
    samples = Folder(path=str(folder)).load()
    assert of(samples) == (["ann", "ann", "bob", "bob"], [0, 1, 0, 1], None)
    assert (samples.class_names, samples.user_kind) == (("cat", "dog"), "users")
    assert np.array_equal(samples.images, FIRST[:4])


def test_a_folder_of_classes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    places = [f"{label}/a.png" for label in range(12)]
    folder = write_images(tmp_path, places, colors(12))
    samples = Folder(path=str(folder)).load()
    assert samples.writers is None
    assert samples.class_names == tuple(map(str, range(12)))
    for label, image in zip(samples.labels, samples.images, strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), colors(12)[label])


def test_a_folder_with_a_split_of_its_own(tmp_path: Path) -> None:
    places = ["test/a/x/1.png", "train/a/x/1.png", "train/b/y/1.png"]
    samples = Folder(path=str(write_images(tmp_path, places))).load()
    users, labels, is_test = of(samples)
    assert (users, labels, is_test.tolist()) == (["a", "a", "b"], [0, 0, 1], [True, False, False])


def test_gray_and_paletted_images_and_other_formats_are_read_as_they_look(tmp_path: Path) -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    folder = write_images(tmp_path, ["a/1.png", "b/1.png"], gray[None].repeat(2, 0))
    assert np.array_equal(Folder(path=str(folder)).load().images, gray[None, None].repeat(2, 0))
    for form in ("WEBP", "BMP"):
        content = encoded(PIXELS[0], form, **({"lossless": True} if form == "WEBP" else {}))
        (folder / "b" / f"2.{form.lower()}").write_bytes(content)
    (folder / "b" / "1.png").write_bytes(encoded(np.stack([gray, gray.T], axis=2)))  # transparent
    samples = Folder(path=str(folder)).load()
    assert np.array_equal(samples.images[:2], gray[None].repeat(3, 0)[None].repeat(2, 0))
    assert np.array_equal(samples.images[2:], FIRST[[0, 0]])


# Tables


def nested(pixels: np.ndarray) -> list[Any]:
    return pixels.tolist()


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (hub_images(PIXELS), FIRST),
        ([encoded(image) for image in PIXELS], FIRST),
        (nested(PIXELS), FIRST),
        (nested(FIRST), FIRST),
        (nested(PIXELS[..., 0]), FIRST[:, :1]),
        (nested(PIXELS[..., 0] / 255), FIRST[:, :1]),
        (pa.array(nested(PIXELS), pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 8), 8)), FIRST),
    ],
    ids=["hub", "binary", "channels last", "channels first", "gray", "floats", "fixed size"],
)
def test_a_table_of_images(tmp_path: Path, images: Any, expected: np.ndarray) -> None:
    columns = {"image": images, "label": LABELS, "who": ["b", "b", "a", "a", "c", "c"]}
    path = write_table(tmp_path / "t.parquet", columns)
    samples = Parquet(path=str(path), user="who").load()
    assert of(samples) == (columns["who"], LABELS, None)
    assert np.array_equal(samples.images, expected)


def test_femnist_as_the_hub_has_it(tmp_path: Path) -> None:
    """``flwrlabs/femnist``: encoded images, writers, a class as a number with its name."""
    columns = {
        "image": hub_images(data_files.images(6)),
        "writer_id": ["f2", "f1", "f1", "f2", "f1", "f2"],
        "hsf_id": [0] * 6,
        "character": LABELS,
    }
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    write_table(path, columns, ["0", "1"], label="character")
    samples = Parquet(path=str(tmp_path), label="character", user="writer_id").load()
    assert samples.class_names == ("0", "1")
    assert of(samples) == (columns["writer_id"], LABELS, None)
    assert np.array_equal(samples.images[:, 0], data_files.images(6))


def test_files_that_say_test_are_the_split_and_other_columns_have_other_names(
    tmp_path: Path,
) -> None:
    for name, part in (("train-0", [0, 1]), ("train-1", [2, 3]), ("test-0", [4]), ("valid", [5])):
        columns = {"img": hub_images(PIXELS[part]), "fine": [LABELS[i] for i in part]}
        write_table(tmp_path / f"{name.replace('valid', 'validation')}.parquet", columns)
    samples = Parquet(path=str(tmp_path), image="img", label="fine").load()
    assert samples.is_test is not None
    assert samples.is_test.tolist() == [False] * 4 + [True]
    assert np.array_equal(samples.images, FIRST[:5])
    (tmp_path / "test-0.parquet").unlink()
    samples = Parquet(path=str(tmp_path), image="img", label="fine").load()
    assert np.array_equal(samples.images, FIRST[[0, 1, 2, 3, 5]])
    assert samples.is_test is not None
    assert samples.is_test.tolist() == [False] * 4 + [True]


@pytest.mark.parametrize("known", ["file", "option", "dictionary"])
def test_labels_that_are_text_are_numbered_by_the_names_that_are_known(
    tmp_path: Path, known: str
) -> None:
    names = ["dog", "cat"]
    text: Any = [names[label] for label in LABELS]
    if known == "dictionary":
        text = pa.array(text).dictionary_encode()
    columns = {"image": hub_images(PIXELS), "label": text}
    path = write_table(tmp_path / "t.parquet", columns, names if known == "file" else ())
    samples = Parquet(path=str(path), classes=None if known == "file" else names).load()
    assert (samples.labels.tolist(), samples.class_names) == (LABELS, ("dog", "cat"))


def test_a_table_longer_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    pixels, labels = colors(2500, side=2), np.arange(2500) % 300
    for name, images in (("a", hub_images(pixels)), ("b", nested(pixels))):
        path = write_table(tmp_path / f"{name}.parquet", {"image": images, "label": labels})
        samples = Parquet(path=str(path)).load()
        assert np.array_equal(samples.images, pixels.transpose(0, 3, 1, 2))
        assert np.array_equal(samples.labels, labels)  # of 300 classes: more than a byte holds


# Arrays


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("users", [None, [7, 7, 10, 10, 9, 9], list("aabbcc")])
def test_arrays_of_numpys(tmp_path: Path, users: Sequence[Any] | None, kind: type) -> None:
    path, test = tmp_path / "a.npz", np.arange(6) > 3
    given = {"images": PIXELS, "labels": np.array(LABELS, kind), "test": test}
    np.savez_compressed(path, **given, **({} if users is None else {"users": users}))
    samples = Npz(path=str(path)).load()
    found, labels, is_test = of(samples)
    assert (found, labels) == (None if users is None else list(map(str, users)), LABELS)
    assert np.array_equal(is_test, test)
    assert np.array_equal(samples.images, FIRST)
    if users and users[0] == 7:
        assert samples.writer_names == ("7", "9", "10")


# CIFAR-10


def test_cifar10_from_folder_from_archive_and_from_folder_with_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cifar10, "records", 4)
    folder = data_files.write_cifar10(tmp_path / "bins", records=4)
    archive = data_files.pack(folder, tmp_path / ARCHIVE, "cifar-10-batches-bin/")
    for path in (folder, archive, tmp_path):
        samples = Cifar10(path=str(path)).load()
        assert np.array_equal(samples.images, colors(24, 32).transpose(0, 3, 1, 2))
        assert samples.labels.tolist() == [i % 10 for i in range(24)]
        assert samples.is_test is not None
        assert samples.is_test.tolist() == [False] * 20 + [True] * 4
        assert samples.class_names == tuple(NAMES)


# What the record says


def test_names_are_shown_as_they_are_whatever_is_in_them(tmp_path: Path) -> None:
    names = ["$a_{b", "$x$", "\u8607\u5b50", "new\nline", "x" * 300, "\t"]
    users = np.arange(24) % 6
    samples = data_files.samples([0, 1, 0, 1, 1, 0] * 4, 2, writers=users.tolist())
    build(data_files.Fixed(replace(samples, writer_names=tuple(names))), Writer(), tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [user["id"] for user in manifest["users"]] == names


def test_the_manifest_names_source_license_classes_and_users(tmp_path: Path) -> None:
    places = [f"{user}/{name}/{i}.png" for user in "ab" for name in ("cat", "dog") for i in "12"]
    folder = write_images(tmp_path / "pictures", places)
    facts = build(Folder(path=str(folder)), Writer(), tmp_path / "out").facts
    assert (facts["name"], facts["user_kind"], facts["license"]) == ("folder", "users", "unknown")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["classes"]] == ["cat", "dog"]
    assert [user["id"] for user in manifest["users"]] == ["a", "b"]
    told = build(Folder(path=str(folder), license="CC0"), Writer(), tmp_path / "out").facts
    assert (told["license"], told["hash"]) == ("CC0", facts["hash"])
    assert load(tmp_path / "out").train.input_shape == (3, 8, 8)


@pytest.mark.parametrize("shape", [(3, 300, 40), (1, 5, 5), (3, 32, 32)])
def test_the_picture_shows_images_of_any_size_in_their_color(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    from PIL import Image

    images = np.zeros((40, *shape), np.uint8)
    images[:, 0] = 200
    samples = Samples(images, np.arange(40, dtype=np.uint8) % 2, 2)
    build(data_files.Fixed(samples), Dirichlet(users=2, alpha=100), tmp_path / "data")
    picture = Image.open(io.BytesIO((tmp_path / "data" / "card.png").read_bytes())).convert("RGB")
    red = (200, 0, 0) if shape[0] == 3 else (200, 200, 200)
    assert picture.getpixel((130 + 30, 100 + 30)) == red
    assert picture.width == 1360


@pytest.mark.skipif(
    not (SHARED / "cifar10-jpeg").is_dir(), reason="no CIFAR-10 sample beside the checkout"
)
def test_real_cifar10_as_the_hub_has_it() -> None:
    samples = Parquet(path=str(SHARED / "cifar10-jpeg"), image="img").load()
    assert samples.images.shape == (12_000, 3, 32, 32)
    assert samples.class_names == tuple(NAMES)
    assert samples.is_test is not None
    assert np.bincount(samples.labels[samples.is_test]).tolist() == [200] * 10
    # The classes look unlike: ships lie on blue water, deer stand in green.
    blue, green = (samples.images[samples.labels == k].mean((0, 2, 3)) for k in (8, 4))
    assert blue[2] > blue[0]
    assert green[2] < green[1]
