"""A folder of images, by class or by user and class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.data.images import MOST_BYTES, SUFFIXES, decoded, stacked
from benchmark.data.own_images import OwnImages, collected
from benchmark.data.samples import Samples
from benchmark.utils.errors import UserError, one_line


@dataclass(frozen=True, kw_only=True)
class Folder(OwnImages):
    """Images as ``CLASS/*.png`` or as ``USER/CLASS/*.png``; which, the depth tells.

    Where all of that lies in two folders ``train`` and ``test``, it is the data's own split.
    Classes are numbered in the order of their names, which is that of numbers if all are numbers.
    Hidden files are passed over; PNG, JPEG, WebP and BMP are read.

    Args:
        path: the folder.
        license: under which the images may be used, for the record.
    """

    name: ClassVar[str] = "folder"

    def load(self) -> Samples:
        """Read every image.

        Raises:
            UserError: a file is no image or no such place for one, a class has no image, or sizes
                differ; names the file.
        """
        folder = self.place("a folder of CLASS/*.png or USER/CLASS/*.png")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; see data.path")
        found = [p.relative_to(folder) for p in sorted(folder.rglob("*"))]
        found = [path for path in found if not any(part.startswith(".") for part in path.parts)]
        files = [path for path in found if not (folder / path).is_dir()]
        if not files:
            raise UserError(f"{folder}: no image there; CLASS/*.png or USER/CLASS/*.png expected")
        has_split = {path.parts[0] for path in found} == {"train", "test"}
        depth = len(files[0].parts) - has_split
        for path in files:
            if path.suffix.lower() not in SUFFIXES or not (folder / path).is_file():
                raise UserError(f"{folder / path}: no file of {', '.join(SUFFIXES)}; remove it")
            if len(path.parts) - has_split != depth or depth not in (2, 3):
                raise UserError(
                    f"{folder / path}: all images must lie in CLASS/, or all in USER/CLASS/, of "
                    f"{folder}; the first is {files[0]}"
                )
        level = depth - 2 + has_split
        classes = _ordered({path.parts[level] for path in found if len(path.parts) > level})
        number = {name: label for label, name in enumerate(classes)}
        return collected(
            str(folder),
            stacked(
                (decoded(_content(folder / path), str(folder / path)) for path in files),
                [str(folder / path) for path in files],
                str(folder),
            ),
            np.array([number[path.parts[level]] for path in files]),
            len(classes),
            users=np.array([path.parts[level - 1] for path in files]) if depth == 3 else None,
            is_test=np.array([path.parts[0] == "test" for path in files]) if has_split else None,
            classes=classes,
        )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: not readable ({one_line(error)})") from None


def _ordered(names: set[str]) -> Sequence[str]:
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(sorted(names), key=int if numbers else None)
