"""Every source: what it reads, from where, and what it says of bad files."""

import gzip
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from benchmark.data.samples import Samples, Source
from benchmark.data.sources.digits5k import Digits5k
from benchmark.data.sources.fedemnist import ARCHIVE, FILES, FedEmnist
from benchmark.data.sources.femnist_leaf import FemnistLeaf
from benchmark.data.sources.qmnist import IMAGES, LABELS, Qmnist
from benchmark.errors import UserError
from tests import data_files
from tests.data_files import SHARED, FileServer, leaf_shard, write_json

CONF = Path(__file__).parents[1] / "conf"
TRAIN_H5, TEST_H5 = FILES


def fault(source: Source) -> str:
    """The one line that a source refuses with."""
    with pytest.raises(UserError) as caught:
        source.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is read


@pytest.fixture(scope="module")
def digits5k() -> Samples:
    return Digits5k().load()


def test_digits5k_has_500_digits_of_each_class_as_ink_on_paper(digits5k: Samples) -> None:
    assert np.bincount(digits5k.labels).tolist() == [500] * 10
    assert digits5k.images.shape == (5000, 28, 28)
    assert digits5k.images.dtype == np.uint8
    assert digits5k.writers is None
    assert digits5k.is_test is None
    # Paper is 255 and most of an image; the corners hold no ink.
    assert (digits5k.images[:, 0, 0] == 255).all()
    assert digits5k.images.min() == 0
    assert digits5k.images.mean() > 200


@pytest.mark.parametrize("compressed", [True, False])
def test_qmnist_reads_the_published_layout(tmp_path: Path, compressed: bool) -> None:
    folder = data_files.write_qmnist(tmp_path, n=30, writers=3, compressed=compressed)
    samples = Qmnist(path=str(folder)).load()
    assert np.array_equal(samples.images, 255 - data_files.images(30))
    assert samples.labels.tolist() == [i % 10 for i in range(30)]
    assert samples.writer_names == ("7", "107", "207")
    assert samples.writers is not None
    assert samples.writers.tolist() == [i % 3 for i in range(30)]


@pytest.mark.skipif(not (SHARED / "qmnist").is_dir(), reason="no real QMNIST beside the checkout")
def test_real_qmnist() -> None:
    samples = Qmnist(path=str(SHARED / "qmnist")).load()
    assert samples.images.shape == (60_000, 28, 28)
    assert len(samples.writer_names) == 539
    counts = np.bincount(samples.writers)
    assert (counts.min(), counts.max(), np.median(counts)) == (19, 131, 116)
    # The label file is the published one, so the checksum that guards its download is right.
    labels = (SHARED / "qmnist" / f"{LABELS}.gz").read_bytes()
    assert Qmnist.checksums[LABELS] == f"md5:{hashlib.md5(labels).hexdigest()}"


@pytest.mark.skipif(
    not (SHARED / "leaf-femnist-sample").is_dir(), reason="no real LEAF shard beside the checkout"
)
@pytest.mark.parametrize(
    ("classes", "writers", "images", "held_out"), [("digits", 5, 526, 59), ("all", 6, 741, 76)]
)
def test_real_leaf_shard(classes: str, writers: int, images: int, held_out: int) -> None:
    samples = FemnistLeaf(path=str(SHARED / "leaf-femnist-sample"), classes=classes).load()  # type: ignore[arg-type]
    assert len(samples.writer_names) == writers
    assert samples.is_test is not None
    assert (len(samples.labels), samples.is_test.sum()) == (images, held_out)
    assert np.median(samples.images) == 255


def test_leaf_keeps_its_split_and_drops_letters_and_writers_without_digits(tmp_path: Path) -> None:
    write_json(tmp_path / "train" / "a.json.gz", leaf_shard({"ann": [1, 2, 40], "bob": [50, 51]}))
    write_json(tmp_path / "train" / "b.json", leaf_shard({"cid": [3], "dan": [60]}))
    write_json(tmp_path / "test" / "a.json", leaf_shard({"ann": [9], "bob": [55], "dan": [4]}))
    digits = FemnistLeaf(path=str(tmp_path)).load()
    assert digits.writer_names == ("ann", "cid")  # dan has a digit, but none to train on
    assert digits.labels.tolist() == [1, 2, 9, 3]
    assert digits.is_test is not None
    assert digits.is_test.tolist() == [False, False, True, False]
    assert digits.num_classes == 10
    assert set(digits.images.ravel()) == {128}  # round(255 * 0.5)
    everything = FemnistLeaf(path=str(tmp_path), classes="all").load()
    assert everything.writer_names == ("ann", "bob", "cid", "dan")
    assert len(everything.labels) == 10
    assert everything.num_classes == 62


def test_flat_leaf_folder_has_no_split(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", leaf_shard({"ann": [1, 2, 3]}))
    assert FemnistLeaf(path=str(tmp_path)).load().is_test is None


def test_fedemnist_from_folder_from_archive_and_from_folder_with_archive(tmp_path: Path) -> None:
    folder = data_files.write_fedemnist(tmp_path / "h5")
    archive = data_files.pack(folder, tmp_path / ARCHIVE)
    for path in (folder, archive, tmp_path):
        samples = FedEmnist(path=str(path)).load()
        assert samples.writer_names == ("f0", "f1", "f2")
        assert np.bincount(samples.writers).tolist() == [8, 9, 10]
        assert samples.is_test is not None
        assert np.bincount(samples.writers[samples.is_test]).tolist() == [2, 2, 2]
        assert samples.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
        assert set(samples.images.ravel()) == {64}


# Downloads, from a server of this process


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("FEDBACKDOOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with data_files.file_server() as server:
        folder = data_files.write_qmnist(tmp_path / "published")
        for path in folder.iterdir():
            server.content[path.name] = path.read_bytes()
        archive = data_files.pack(data_files.write_fedemnist(tmp_path / "h5"), tmp_path / ARCHIVE)
        server.content[ARCHIVE] = archive.read_bytes()
        sums = {
            name: f"md5:{hashlib.md5(server.content[f'{name}.gz']).hexdigest()}"
            for name in (IMAGES, LABELS)
        }
        monkeypatch.setattr(Qmnist, "checksums", sums)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(FedEmnist, "checksum", f"sha256:{digest}")
        yield server


DOWNLOADING: list[tuple[Callable[[str], Source], list[str]]] = [
    (lambda url: Qmnist(url=url), [f"{IMAGES}.gz", f"{LABELS}.gz"]),
    (lambda url: FedEmnist(url=url), [ARCHIVE]),
]


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist"])
def test_download_happens_once(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    first = make(server.url).load()
    assert server.requests == files
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(files)
    second = make("http://127.0.0.1:9/nobody-listens").load()
    assert np.array_equal(first.images, second.images)
    assert server.requests == files


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist"])
def test_broken_download_leaves_nothing_and_starts_again(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    server.breaks = True
    message = fault(make(server.url))
    assert f"{server.url}/{files[0]}: cannot be downloaded" in message
    assert "data.path=" in message
    assert list((tmp_path / "cache").iterdir()) == []
    server.breaks = False
    assert len(make(server.url).load().labels) in (30, 27)


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist"])
def test_wrong_checksum_names_file_expected_and_found(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    expected = (*Qmnist.checksums.values(), FedEmnist.checksum)
    server.content = dict.fromkeys(files, b"something else")
    found = {
        hashlib.md5(b"something else").hexdigest(),
        hashlib.sha256(b"something else").hexdigest(),
    }
    message = fault(make(server.url))
    assert f"{files[0]}: wrong checksum" in message
    assert any(value.partition(":")[2] in message for value in expected)
    assert any(value in message for value in found)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_file_in_the_cache_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    Qmnist(url=server.url).load()
    cached = tmp_path / "cache" / f"{LABELS}.gz"
    cached.write_bytes(cached.read_bytes()[:-4])
    assert len(Qmnist(url=server.url).load().labels) == 30
    assert server.requests.count(f"{LABELS}.gz") == 2


def test_file_that_the_server_lacks(server: FileServer) -> None:
    del server.content[f"{LABELS}.gz"]
    message = fault(Qmnist(url=server.url))
    assert f"{LABELS}.gz: cannot be downloaded" in message
    assert "404" in message


def test_no_network_says_to_give_a_path(server: FileServer) -> None:
    message = fault(FedEmnist(url="http://127.0.0.1:9/"))
    assert ARCHIVE in message
    assert "give data.path=" in message


# Bad files: each case makes a source that must refuse, and the words that must be in the message

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
NO_IMAGES = data_files.idx(np.zeros((0, 28, 28), np.uint8))
LABEL_11 = bytes((0, 0, 0, 11))
BAD: dict[str, Case] = {
    "qmnist: missing file": missing_qmnist,
    "qmnist: truncated gz": qmnist_raw(IMAGES, lambda c: c[:-100], "truncated"),
    "qmnist: corrupt gz": qmnist_raw(LABELS, lambda c: c[:30] + bytes(20) + c[50:], "corrupt"),
    "qmnist: not gz": qmnist_raw(LABELS, lambda c: b"<html>not found</html>", "corrupt"),
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


def test_classes_must_be_digits_or_all() -> None:
    with pytest.raises(ValueError, match="classes must be digits or all, got letters"):
        FemnistLeaf(classes="letters")  # type: ignore[arg-type]


# Configuration


@pytest.mark.parametrize(
    "path",
    sorted((*CONF.glob("data/*.yaml"), *CONF.glob("partition/*.yaml"))),
    ids=lambda p: p.stem,
)
def test_yaml_gives_every_parameter_with_the_default_of_the_code(path: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    made = get_class(config.pop("_target_"))
    config.pop("defaults", None)
    parameters = inspect.signature(made).parameters
    assert config == {name: parameter.default for name, parameter in parameters.items()}
    assert made.name == path.stem  # type: ignore[attr-defined]
    assert json.loads(json.dumps(config)) == config
