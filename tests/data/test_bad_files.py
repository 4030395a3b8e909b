"""Bad files: every source names the file and its fault in one line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.samples import Source
from benchmark.data.sources.fedemnist import FILES, FedEmnist
from benchmark.data.sources.femnist_leaf import FemnistLeaf
from benchmark.data.sources.qmnist import IMAGES, LABELS, Qmnist
from tests.support import data_files
from tests.support.data_files import fault, leaf_shard, write_json

TRAIN_H5, TEST_H5 = FILES

# Each case makes a source that must refuse, and the words that must be in the message

Case = Callable[[Path], tuple[Source, list[str]]]


def qmnist_case(name: str, content: Callable[[bytes], bytes], *words: str) -> Case:
    """QMNIST with one file's (decompressed) content changed."""

    def make(folder: Path) -> tuple[Source, list[str]]:
        data_files.write_qmnist(folder)
        path = folder / f"{name}.gz"
        path.write_bytes(gzip.compress(content(gzip.decompress(path.read_bytes()))))
        return Qmnist(path=str(folder)), [str(path), *words]

    return make


def qmnist_raw(name: str, content: Callable[[bytes], bytes], *words: str) -> Case:
    """QMNIST with one compressed file changed."""

    def make(folder: Path) -> tuple[Source, list[str]]:
        data_files.write_qmnist(folder)
        path = folder / f"{name}.gz"
        path.write_bytes(content(path.read_bytes()))
        return Qmnist(path=str(folder)), [str(path), *words]

    return make


def leaf_case(change: Callable[[dict], object], *words: str) -> Case:
    """A LEAF shard with two writers, changed."""

    def make(folder: Path) -> tuple[Source, list[str]]:
        shard = leaf_shard({"ann": [1, 2, 3], "bob": [4, 5]})
        changed = change(shard)
        path = write_json(folder / "s.json", shard if changed is None else changed)
        return FemnistLeaf(path=str(folder)), [str(path), *words]

    return make


def h5_case(pixels: np.ndarray, labels: np.ndarray, *words: str) -> Case:
    """TFF's files with one bad writer among the training images."""

    def make(folder: Path) -> tuple[Source, list[str]]:
        data_files.write_fedemnist(folder)
        data_files.write_h5(folder / TRAIN_H5, {"bad": (pixels, labels)})
        return FedEmnist(path=str(folder)), [str(folder / TRAIN_H5), *words]

    return make


def missing_qmnist(folder: Path) -> tuple[Source, list[str]]:
    data_files.write_qmnist(folder)
    (folder / f"{LABELS}.gz").unlink()
    return Qmnist(path=str(folder)), [str(folder / LABELS), "no such file"]


def duplicate_writer(folder: Path) -> tuple[Source, list[str]]:
    for name in ("a.json", "b.json"):
        write_json(folder / name, leaf_shard({"ann": [1]}))
    return FemnistLeaf(path=str(folder)), [str(folder / "b.json"), "ann", "another shard"]


def leaf_without_test(folder: Path) -> tuple[Source, list[str]]:
    write_json(folder / "train" / "a.json", leaf_shard({"ann": [1]}))
    return FemnistLeaf(path=str(folder)), [str(folder / "test"), "no LEAF shard"]


def leaf_letters_only(folder: Path) -> tuple[Source, list[str]]:
    write_json(folder / "a.json", leaf_shard({"ann": [40]}))
    return FemnistLeaf(path=str(folder)), [str(folder), "no digit"]


def truncated_shard(folder: Path) -> tuple[Source, list[str]]:
    path = write_json(folder / "a.json", leaf_shard({"ann": [1]}))
    path.write_bytes(path.read_bytes()[:-100])
    return FemnistLeaf(path=str(folder)), [str(path), "not JSON", "truncated"]


def truncated_archive(folder: Path) -> tuple[Source, list[str]]:
    path = data_files.pack(data_files.write_fedemnist(folder / "h5"), folder / "x.tar.bz2")
    path.write_bytes(path.read_bytes()[:-200])
    return FedEmnist(path=str(path)), [str(path), "truncated"]


def corrupt_archive(folder: Path) -> tuple[Source, list[str]]:
    path = data_files.pack(data_files.write_fedemnist(folder / "h5"), folder / "x.tar.bz2")
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(bytes(content))
    return FedEmnist(path=str(path)), [str(path), "corrupt"]


def archive_without_test(folder: Path) -> tuple[Source, list[str]]:
    data_files.write_fedemnist(folder / "h5")
    (folder / "h5" / TEST_H5).unlink()
    path = data_files.pack(folder / "h5", folder / "x.tar.bz2")
    return FedEmnist(path=str(path)), [str(path), f"holds no {TEST_H5}"]


def missing_h5(folder: Path) -> tuple[Source, list[str]]:
    data_files.write_fedemnist(folder)
    (folder / TEST_H5).unlink()
    return FedEmnist(path=str(folder)), [str(folder / TEST_H5), "no such file"]


def truncated_h5(folder: Path) -> tuple[Source, list[str]]:
    data_files.write_fedemnist(folder)
    path = folder / TEST_H5
    path.write_bytes(path.read_bytes()[:-2000])
    return FedEmnist(path=str(folder)), [str(path), "truncated"]


def h5_without_examples(folder: Path) -> tuple[Source, list[str]]:
    data_files.write_fedemnist(folder)
    data_files.write_h5(folder / TRAIN_H5, {})
    return FedEmnist(path=str(folder)), [str(folder / TRAIN_H5), "examples"]


def misnumber(shard: dict) -> None:
    shard["num_samples"][1] = 3


def set_label(label: object) -> Callable[[dict], None]:
    def change(shard: dict) -> None:
        shard["user_data"]["bob"]["y"][1] = label

    return change


def set_pixel(value: object) -> Callable[[dict], None]:
    def change(shard: dict) -> None:
        shard["user_data"]["bob"]["x"][1][17] = value

    return change


def shorten_images(shard: dict) -> None:
    shard["user_data"]["bob"]["x"] = [[0.5] * 783] * 2


def ragged_images(shard: dict) -> None:
    shard["user_data"]["bob"]["x"][0].pop()


def empty_writer(shard: dict) -> None:
    shard["num_samples"][1] = 0
    shard["user_data"]["bob"] = {"x": [], "y": []}


def unnamed_writer(shard: dict) -> None:
    shard["users"][1] = "eve"


GRAY = np.full((2, 28, 28), 0.5, np.float32)
WRONG_SIZE = data_files.idx(np.zeros((30, 27, 28), np.uint8))
WRONG_COUNT = data_files.qmnist_bytes(n=20)[1]
LABEL_11 = bytes((0, 0, 0, 11))
BAD: dict[str, Case] = {
    "qmnist: missing file": missing_qmnist,
    "qmnist: truncated gz": qmnist_raw(IMAGES, lambda c: c[:-100], "truncated"),
    "qmnist: corrupt gz": qmnist_raw(LABELS, lambda c: c[:30] + bytes(20) + c[50:], "corrupt"),
    "qmnist: not gz": qmnist_raw(LABELS, lambda c: b"<html>not found</html>", "corrupt"),
    "qmnist: a bomb": qmnist_case(IMAGES, lambda c: c + bytes(30_000_000), "200 times its size"),
    "qmnist: cut inside": qmnist_case(IMAGES, lambda c: c[:-1], "30 rows", "truncated"),
    "qmnist: too long": qmnist_case(IMAGES, lambda c: c + b"\0", "30 rows"),
    "qmnist: empty file": qmnist_case(LABELS, lambda c: b"", "starts with nothing"),
    "qmnist: another format": qmnist_case(LABELS, lambda c: data_files.idx(data_files.images(2)),
                                          "not an IDX file of 2 axes"),
    "qmnist: image size": qmnist_case(IMAGES, lambda c: WRONG_SIZE, "28 x 28", "27 x 28"),
    "qmnist: label 11": qmnist_case(LABELS, lambda c: c[:12] + LABEL_11 + c[16:], "label 11",
                                    "image 0", "0 to 9"),
    "qmnist: negative label": qmnist_case(LABELS, lambda c: c[:12] + b"\xff" * 4 + c[16:],
                                          "label -1"),
    "qmnist: fewer labels": qmnist_case(LABELS, lambda c: WRONG_COUNT, "20 labels", "30 images"),
    "leaf: no path": lambda folder: (FemnistLeaf(), ["data.path="]),
    "leaf: no folder": lambda folder: (FemnistLeaf(path=str(folder / "no")), [str(folder / "no")]),
    "leaf: no test shards": leaf_without_test,
    "leaf: letters only": leaf_letters_only,
    "leaf: writer twice": duplicate_writer,
    "leaf: truncated": truncated_shard,
    "leaf: a list": leaf_case(lambda shard: [1, 2], "not a LEAF shard"),
    "leaf: other keys": leaf_case(lambda shard: {"users": []}, "not a LEAF shard"),
    "leaf: users is a string": leaf_case(lambda shard: {**shard, "users": "ann"}, "lists"),
    "leaf: lies about counts": leaf_case(misnumber, "writer bob", "says 3 images", "y has 2"),
    "leaf: lies about writers": leaf_case(unnamed_writer, "do not belong together"),
    "leaf: label 62": leaf_case(set_label(62), "writer bob", "label 62", "0 to 61"),
    "leaf: label in words": leaf_case(set_label("five"), "writer bob", "whole numbers"),
    "leaf: label 4.5": leaf_case(set_label(4.5), "writer bob", "whole numbers"),
    "leaf: pixel 7": leaf_case(set_pixel(7), "writer bob", "within [0, 1]", "7"),
    "leaf: pixel NaN": leaf_case(set_pixel(float("nan")), "writer bob", "within [0, 1]", "nan"),
    "leaf: pixel in words": leaf_case(set_pixel("dark"), "writer bob", "numbers"),
    "leaf: image size": leaf_case(shorten_images, "writer bob", "784", "783"),
    "leaf: ragged images": leaf_case(ragged_images, "writer bob", "numbers"),
    "leaf: empty writer": leaf_case(empty_writer, "writer bob", "no images"),
    "fedemnist: no file": lambda folder: (FedEmnist(path=str(folder / "no.tar.bz2")),
                                          [str(folder / "no.tar.bz2"), "no such file"]),
    "fedemnist: no h5 in folder": missing_h5,
    "fedemnist: truncated archive": truncated_archive,
    "fedemnist: corrupt archive": corrupt_archive,
    "fedemnist: archive lacks a file": archive_without_test,
    "fedemnist: truncated h5": truncated_h5,
    "fedemnist: h5 without examples": h5_without_examples,
    "fedemnist: image size": h5_case(GRAY[:, :27], np.array([1, 2]), "writer bad", "28 x 28"),
    "fedemnist: too few labels": h5_case(GRAY, np.array([1]), "writer bad", "2 images"),
    "fedemnist: label 10": h5_case(GRAY, np.array([1, 10]), "writer bad", "label 10", "0 to 9"),
    "fedemnist: gray 255": h5_case(GRAY * 510, np.array([1, 2]), "writer bad", "255"),
    "fedemnist: empty writer": h5_case(GRAY[:0], np.array([], int), "writer bad", "no images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_file_is_named_with_its_fault(tmp_path: Path, case: Case) -> None:
    source, words = case(tmp_path / "given")
    message = fault(source)
    for word in words:
        assert word in message
