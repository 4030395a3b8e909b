"""The partition folder: what is in it, the same bytes again, and what it says when damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.partitions.iid import Iid
from benchmark.data.partitions.style import Style
from benchmark.data.partitions.writer import Writer
from benchmark.data.samples import Partition, Samples, Source
from benchmark.data.sources.digits5k import Digits5k
from benchmark.data.sources.femnist_leaf import FemnistLeaf
from benchmark.data.sources.qmnist import Qmnist
from benchmark.data.store import ARRAYS, build, load, read_manifest
from benchmark.utils.errors import UserError
from tests.support import data_files
from tests.support.data_files import SHARED, Fixed

NAMES = {*ARRAYS, "manifest.json", "card.png"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def samples() -> Samples:
    return data_files.samples([i % 3 for i in range(60)], 3, writers=[i % 4 for i in range(60)])


@pytest.fixture
def folder(tmp_path: Path, samples: Samples) -> Path:
    build(Fixed(samples), Writer(), tmp_path / "data")
    return tmp_path / "data"


def test_every_image_is_found_again_with_its_label_and_writer(
    tmp_path: Path, samples: Samples
) -> None:
    dataset = build(Fixed(samples), Writer(), tmp_path / "data")
    assert (dataset.num_users, dataset.num_classes) == (4, 3)
    known = {image.tobytes(): i for i, image in enumerate(samples.images)}
    assert samples.writers is not None
    found = []
    for split in (dataset.train, dataset.test):
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        for user in range(4):
            for index in split.user(user).tolist():
                original = known[split.images[index].numpy().tobytes()]
                assert split.labels[index] == samples.labels[original]
                assert samples.writers[original] == user
                found.append(original)
    assert sorted(found) == list(range(60))


def test_facts_and_manifest(folder: Path) -> None:
    dataset, manifest = load(folder), read_manifest(folder)
    assert dataset.facts == {
        "name": "fixed",
        "hash": manifest["hash"],
        "users": 4,
        "user_kind": "writers",
        "train_images": 48,
        "test_images": 12,
        "license": "none needed",
    }
    assert manifest["users"] == [{"id": f"w{u}", "train": 12, "test": 3} for u in range(4)]
    assert manifest["classes"] == [{"class": c, "train": 16, "test": 4} for c in range(3)]
    assert manifest["source"]["homepage"] == "https://example.org"
    assert manifest["partition"] == {
        "name": "writer",
        "user_kind": "writers",
        "parameters": {"test_fraction": 0.2, "min_images": 1, "seed": 0},
    }
    assert set(contents(folder)) == NAMES
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


def test_where_the_files_came_from_leaves_no_trace(tmp_path: Path) -> None:
    for place in ("here", "there"):
        source = Qmnist(path=str(data_files.write_qmnist(tmp_path / place)))
        build(source, Writer(), tmp_path / f"from-{place}")
    assert contents(tmp_path / "from-here") == contents(tmp_path / "from-there")


def test_same_parameters_same_bytes_and_other_parameters_other_hash(
    tmp_path: Path, samples: Samples
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(Fixed(samples), Iid(users=5, seed=seed), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert load(tmp_path / "a").facts["hash"] != load(tmp_path / "c").facts["hash"]
    assert (tmp_path / "a" / "card.png").read_bytes() != (tmp_path / "c" / "card.png").read_bytes()


def test_the_picture_does_not_follow_the_readers_matplotlib_settings(
    folder: Path, samples: Samples
) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        build(Fixed(samples), Writer(), folder.parent / "again")
        assert matplotlib.rcParams["font.size"] == 30
    assert contents(folder) == contents(folder.parent / "again")


def test_rebuilding_replaces_the_folder(folder: Path, samples: Samples) -> None:
    (folder / "stray").write_text("left by somebody")
    dataset = build(Fixed(samples), Iid(users=2), folder)
    assert dataset.num_users == 2
    assert set(contents(folder)) == NAMES


def test_color_is_kept_and_gray_has_the_hash_that_it_had_before_there_was_color(
    tmp_path: Path, samples: Samples
) -> None:
    gray = build(Fixed(samples), Iid(users=3), tmp_path / "gray")
    assert np.load(tmp_path / "gray" / "train_images.npy").shape == (48, 28, 28)
    assert gray.train.input_shape == (1, 28, 28)
    colors = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 6)).astype(np.uint8)
    color = build(Fixed(replace(samples, images=colors)), Iid(users=3), tmp_path / "color")
    assert color.train.input_shape == (3, 8, 6)
    found = [*color.train.images.numpy(), *color.test.images.numpy()]
    assert sorted(image.tobytes() for image in found) == sorted(c.tobytes() for c in colors)
    pixels = color.train.pixels(torch.tensor([4, 2]), torch.float64)
    assert torch.equal(pixels * 255, color.train.images[[4, 2]].double())


def test_user_without_test_image_where_the_source_has_a_split(tmp_path: Path) -> None:
    samples = data_files.samples([0, 1, 0, 1], writers=[0, 0, 1, 1], is_test=[True] + [False] * 3)
    dataset = build(Fixed(samples), Writer(), tmp_path / "data")
    assert dataset.test.offsets.tolist() == [0, 1, 1]
    assert dataset.train.offsets.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("num_classes", "users"), [(62, 3), (10, 1)], ids=["many classes", "one user"]
)
def test_picture_of_unusual_data(tmp_path: Path, num_classes: int, users: int) -> None:
    samples = data_files.samples([i % num_classes for i in range(186)], num_classes)
    build(Fixed(samples), Iid(users=users), tmp_path / "data")
    header = (tmp_path / "data" / "card.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20], "big") == 1360


# Nothing half-written


class Failing(Partition):
    """A scheme that leaves a user without images."""

    name = "failing"
    user_kind = "nobody"

    def names(self, samples: Samples) -> tuple[str, ...]:
        return ("a", "b")

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(len(samples.labels), np.int64)


@pytest.mark.parametrize("existing", [False, True])
def test_a_refused_division_changes_nothing(
    tmp_path: Path, samples: Samples, existing: bool
) -> None:
    out = tmp_path / "data"
    if existing:
        build(Fixed(samples), Writer(), out)
    before = contents(out) if existing else None
    with pytest.raises(UserError, match="user b of 2 has no training image"):
        build(Fixed(samples), Failing(), out)
    assert out.exists() == existing
    assert [path.name for path in tmp_path.iterdir()] == ["data"] * existing
    assert before is None or contents(out) == before


def test_an_interrupted_build_leaves_nothing(
    tmp_path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.data.store.draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(Fixed(samples), Writer(), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_bad_source_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        build(Qmnist(path=str(tmp_path / "absent")), Writer(), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


# Real handwriting


@pytest.mark.parametrize(
    ("source", "partition", "users", "kind", "train", "test"),
    [
        (Digits5k(), Style(), 100, "style users", 4000, 1000),
        (Qmnist(path=str(SHARED / "qmnist")), Writer(), 539, "writers", 48007, 11993),
        (FemnistLeaf(path=str(SHARED / "leaf-femnist-sample")), Writer(), 5, "writers", 467, 59),
    ],
    ids=["digits5k", "qmnist", "femnist_leaf"],
)
def test_real_data(
    tmp_path: Path,
    source: Source,
    partition: Partition,
    users: int,
    kind: str,
    train: int,
    test: int,
) -> None:
    path = getattr(source, "path", None)
    if path is not None and not Path(path).is_dir():
        pytest.skip(f"no real {source.name} beside the checkout")
    facts = build(source, partition, tmp_path / "data").facts
    assert (facts["users"], facts["user_kind"]) == (users, kind)
    assert (facts["train_images"], facts["test_images"]) == (train, test)
