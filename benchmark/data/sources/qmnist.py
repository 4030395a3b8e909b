"""QMNIST: MNIST's digits with the identity of their writers."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.data.download import fetch
from benchmark.data.reading import SIDE, check_labels, read_idx
from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError

IMAGES = "qmnist-train-images-idx3-ubyte"
LABELS = "qmnist-train-labels-idx2-int"


@dataclass(frozen=True, kw_only=True)
class Qmnist(Source):
    """The training part of QMNIST: 60,000 digits of 539 writers, 19 to 131 images each.

    Reads the published layout: images as IDX of uint8, 255 = ink; labels as IDX of 8 int32 for
    each image: class, NIST HSF series, writer, index in the writer's form, and four more.

    Args:
        path: folder with the two files, plain or ``.gz``; None downloads them, checked against
            the published MD5.
        url: where they are downloaded from.

    Reference:
        Yadav and Bottou, "Cold Case: the Lost MNIST Digits", NeurIPS 2019.
    """

    name: ClassVar[str] = "qmnist"
    license: ClassVar[str] = "QMNIST is BSD-style; its digits are NIST SD 19, a US government work"
    homepage: ClassVar[str] = "https://github.com/facebookresearch/qmnist"
    checksums: ClassVar[dict[str, str]] = {
        IMAGES: "md5:ed72d4157d28c017586c42bc6afe6370",
        LABELS: "md5:0058f8dd561b90ffdd0f734c6a30e5e4",
    }

    path: str | None = None
    url: str = "https://raw.githubusercontent.com/facebookresearch/qmnist/master/"

    def load(self) -> Samples:
        """Read, or download and read, the two files.

        Raises:
            UserError: a file is missing, corrupt or not what it claims; names the file.
        """
        images_file, labels_file = self._file(IMAGES), self._file(LABELS)
        ink = read_idx(images_file, "u1", (SIDE, SIDE))
        rows = read_idx(labels_file, ">i4", (8,))
        if len(ink) != len(rows):
            raise UserError(
                f"{labels_file}: {len(rows)} labels for the {len(ink)} images of {images_file}"
            )
        if not len(rows):
            raise UserError(f"{labels_file}: no images")
        # The id alone tells the writers apart; it is unique over the HSF series.
        ids, writers = np.unique(rows[:, 2], return_inverse=True)
        return Samples(
            images=255 - ink[:, None],
            labels=check_labels(rows[:, 0], 10, labels_file),
            num_classes=10,
            writers=writers.astype(np.int64),
            writer_names=tuple(str(writer) for writer in ids),
        )

    def _file(self, name: str) -> Path:
        if self.path is None:
            return fetch(self.url, f"{name}.gz", self.checksums[name])
        folder = Path(self.path).expanduser()
        for file in (folder / f"{name}.gz", folder / name):
            if file.is_file():
                return file
        raise UserError(f"{folder / name}.gz: no such file, nor one without .gz; see data.path")
