"""Every source: what it reads, and its configuration."""

import hashlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from benchmark.data.samples import Samples
from benchmark.data.sources.digits5k import Digits5k
from benchmark.data.sources.fedemnist import ARCHIVE, FedEmnist
from benchmark.data.sources.femnist_leaf import FemnistLeaf
from benchmark.data.sources.qmnist import LABELS, Qmnist
from tests.support import data_files
from tests.support.data_files import SHARED, leaf_shard, write_json

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def digits5k() -> Samples:
    return Digits5k().load()


def test_digits5k_has_500_digits_of_each_class_as_ink_on_paper(digits5k: Samples) -> None:
    assert np.bincount(digits5k.labels).tolist() == [500] * 10
    assert digits5k.images.shape == (5000, 1, 28, 28)
    assert digits5k.images.dtype == np.uint8
    assert digits5k.writers is None
    assert digits5k.is_test is None
    # Paper is 255 and most of an image; the corners hold no ink.
    assert (digits5k.images[:, :, 0, 0] == 255).all()
    assert digits5k.images.min() == 0
    assert digits5k.images.mean() > 200


@pytest.mark.parametrize("compressed", [True, False])
def test_qmnist_reads_the_published_layout(tmp_path: Path, compressed: bool) -> None:
    folder = data_files.write_qmnist(tmp_path, n=30, writers=3, compressed=compressed)
    samples = Qmnist(path=str(folder)).load()
    assert np.array_equal(samples.images, 255 - data_files.images(30)[:, None])
    assert samples.labels.tolist() == [i % 10 for i in range(30)]
    assert samples.writer_names == ("7", "107", "207")
    assert samples.writers is not None
    assert samples.writers.tolist() == [i % 3 for i in range(30)]


@pytest.mark.skipif(not (SHARED / "qmnist").is_dir(), reason="no real QMNIST beside the checkout")
def test_real_qmnist() -> None:
    samples = Qmnist(path=str(SHARED / "qmnist")).load()
    assert samples.images.shape == (60_000, 1, 28, 28)
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
