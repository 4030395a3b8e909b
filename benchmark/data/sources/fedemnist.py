"""Federated EMNIST, digits only: the data of the paper."""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.download import archive
from benchmark.data.reading import SIDE, WriterImages, check_labels, join, quantize
from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError, one_line

ARCHIVE = "fed_emnist_digitsonly.tar.bz2"
FILES = {"fed_emnist_digitsonly_train.h5": False, "fed_emnist_digitsonly_test.h5": True}


@dataclass(frozen=True, kw_only=True)
class FedEmnist(Source):
    """TensorFlow Federated's EMNIST digits: 3,383 writers, 341,873 training and 40,832 test images.

    Reads the archive as published until 2021: two HDF5 files with the groups
    ``examples/<writer>/pixels`` (float32 ``(n, 28, 28)``, 1.0 = paper) and
    ``examples/<writer>/label`` (int32 ``(n,)``). Its split, made per writer, is kept.

    Args:
        path: the archive, or a folder with the archive or with the two HDF5 files; None downloads
            the archive (checked against its SHA-256).
        url: where it is downloaded from.

    Reference:
        Caldas et al., arXiv 1812.01097; used in Sun et al., arXiv 1911.07963.
    """

    name: ClassVar[str] = "fedemnist"
    license: ClassVar[str] = "NIST SD 19, a US government work; TFF is Apache-2.0"
    homepage: ClassVar[str] = (
        "https://www.tensorflow.org/federated/api_docs/python/tff/simulation/datasets/emnist"
    )
    checksum: ClassVar[str] = (
        "sha256:55333deb8546765427c385710ca5e7301e16f4ed8b60c1dc5ae224b42bd5b14b"
    )

    path: str | None = None
    url: str = "https://storage.googleapis.com/tff-datasets-public/"

    def load(self) -> Samples:
        """Read, or download and read, both files.

        Raises:
            UserError: a file is missing, corrupt or not what it claims; names the file.
        """
        place = archive(self.path, self.url, ARCHIVE, self.checksum)
        parts = []
        for name, is_test in FILES.items():
            with _opened(place, name) as (file, label):
                parts += _read_hdf5(file, label, is_test)
        return join(parts, num_classes=10, own_split=True)


@contextmanager
def _opened(place: Path, name: str) -> Iterator[tuple[Path, str]]:
    """One HDF5 file as a path, and what errors call it."""
    if place.is_dir():
        if not (place / name).is_file():
            raise UserError(f"{place / name}: no such file, nor is {ARCHIVE} there; see data.path")
        yield place / name, str(place / name)
        return
    with tempfile.TemporaryDirectory(prefix="fedemnist.") as folder:
        _extract(place, name, Path(folder) / name)
        yield Path(folder) / name, f"{place}: {name}"


def _extract(archive: Path, name: str, target: Path) -> None:
    """Write the archive's member of that name, in whatever folder of it, to ``target``."""
    try:
        with tarfile.open(archive, "r:bz2") as members:
            for member in members:
                if member.isfile() and Path(member.name).name == name:
                    content = members.extractfile(member)
                    assert content is not None  # it is a regular file
                    with content, target.open("wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
                    return
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file or folder; see data.path") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(
            f"{archive}: truncated, corrupt or no tar.bz2 ({one_line(error)})"
        ) from None
    raise UserError(f"{archive}: holds no {name}")


def _read_hdf5(path: Path, label: str, is_test: bool) -> list[WriterImages]:
    import h5py

    try:
        with h5py.File(path) as file:
            writers = file["examples"]
            parts = [_read_writer(label, name, writers[name], is_test) for name in sorted(writers)]
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"{label}: truncated, corrupt or not HDF5 of examples/<writer>/(pixels, label) "
            f"({one_line(error)})"
        ) from None
    if not parts:
        raise UserError(f"{label}: no writers")
    return parts


def _read_writer(label: str, writer: str, group: Any, is_test: bool) -> WriterImages:
    where = f"{label}: writer {writer}"
    pixels, labels = np.asarray(group["pixels"][()]), np.asarray(group["label"][()])
    if pixels.shape[1:] != (SIDE, SIDE):
        raise UserError(f"{where}: images of {SIDE} x {SIDE} expected, found {pixels.shape}")
    if labels.shape != pixels.shape[:1]:
        raise UserError(f"{where}: {len(pixels)} images, but labels of shape {labels.shape}")
    if not len(labels):
        raise UserError(f"{where}: no images")
    return WriterImages(writer, quantize(pixels, where), check_labels(labels, 10, where), is_test)
