"""CIFAR-10 as published, in its binary version."""

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from benchmark.data.download import archive
from benchmark.data.reading import check_labels
from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError, one_line

ARCHIVE = "cifar-10-binary.tar.gz"
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True, kw_only=True)
class Cifar10(Source):
    """CIFAR-10: 50,000 training and 10,000 test images of 3 x 32 x 32 in ten classes, no users.

    Reads the *binary* version: six files of 10,000 records, a byte for the label and 3,072 for red,
    green and blue, row by row. The python version is pickled, and is not read. The split is kept.

    Args:
        path: the archive, or a folder with the archive or with the six files; None downloads the
            archive, 170 MB (checked against its SHA-256).
        url: where it is downloaded from.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name: ClassVar[str] = "cifar10"
    license: ClassVar[str] = "none stated; its authors ask to be cited"
    homepage: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"
    checksum: ClassVar[str] = (
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    )
    records: ClassVar[int] = 10_000

    path: str | None = None
    url: str = "https://www.cs.toronto.edu/~kriz/"

    def load(self) -> Samples:
        """Read, or download and read, the six files.

        Raises:
            UserError: a file is missing, damaged or not what it claims; names the file.
        """
        place = archive(self.path, self.url, ARCHIVE, self.checksum)
        found = self._folder(place) if place.is_dir() else self._archive(place)
        table = np.frombuffer(b"".join(found[name] for name in FILES), np.uint8)
        table = table.reshape(-1, _RECORD)
        return Samples(
            images=table[:, 1:].reshape(-1, 3, 32, 32),
            labels=check_labels(table[:, 0], 10, place),
            num_classes=10,
            is_test=np.arange(len(table)) >= 5 * self.records,
            class_names=tuple(NAMES),
        )

    def _folder(self, folder: Path) -> dict[str, bytes]:
        found = {}
        for name in FILES:
            if not (folder / name).is_file():
                raise UserError(f"{folder / name}: no such file, nor is {ARCHIVE} there")
            with (folder / name).open("rb") as file:
                found[name] = self._records(file, str(folder / name))
        return found

    def _archive(self, archive: Path) -> dict[str, bytes]:
        found = {}
        try:
            with tarfile.open(archive, "r|gz") as members:
                for member in members:
                    name = Path(member.name).name
                    content = members.extractfile(member) if name in FILES else None
                    if content is not None:
                        found[name] = self._records(content, f"{archive}: {name}")
        except FileNotFoundError:
            raise UserError(f"{archive}: no such file or folder; see data.path") from None
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{archive}: truncated, corrupt or no tar.gz ({one_line(error)})"
            ) from None
        if missing := [name for name in FILES if name not in found]:
            raise UserError(f"{archive}: holds no {missing[0]}; the binary version is read")
        return found

    def _records(self, file: IO[bytes], where: str) -> bytes:
        size = self.records * _RECORD
        content = file.read(size + 1)
        if len(content) != size:
            found = "more" if len(content) > size else f"{len(content)}: truncated"
            raise UserError(f"{where}: {size} bytes expected, {_RECORD} a record, got {found}")
        return content
