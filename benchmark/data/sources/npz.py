"""Images in one file of numpy's."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from numpy.lib import format as npy

from benchmark.data.images import arranged, check_room
from benchmark.data.own_images import OwnImages, collected, labelled
from benchmark.data.samples import Samples
from benchmark.utils.errors import UserError, one_line


@dataclass(frozen=True, kw_only=True)
class Npz(OwnImages):
    """``np.savez(path, images=..., labels=..., users=..., test=...)``, the last two optional.

    ``images``: ``(n, H, W)``, ``(n, H, W, C)`` or ``(n, C, H, W)``, whole numbers from 0 to 255 or
    floats from 0 to 1; ``labels``: ``(n,)``, whole numbers or names of ``classes``; ``users``:
    ``(n,)``, numbers or text; ``test``: ``(n,)`` bool, the data's own split. Nothing is unpickled.

    Args:
        path: the file.
        license: under which the images may be used, for the record.
        classes: their names, in the order of the labels; must be given where labels are text.
    """

    name: ClassVar[str] = "npz"

    classes: Sequence[str] | None = None

    def load(self) -> Samples:
        """Read the arrays.

        Raises:
            UserError: the file or an array is missing, damaged or not what it should be; names it.
        """
        path = self.place("a file of numpy's with the arrays images and labels")
        try:
            with zipfile.ZipFile(path) as file:
                check_room(sum(info.file_size for info in file.infolist()), str(path))
                arrays = {
                    name: _read(file, name, path)
                    for name in ("images", "labels", "users", "test")
                    if name in ("images", "labels") or f"{name}.npy" in file.namelist()
                }
            return self._collected(path, arrays)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; see data.path") from None
        except UserError:
            raise
        except Exception as error:  # numpy's, zipfile's and its compressors': no base but this
            raise UserError(f"{path}: truncated, corrupt or no npz ({one_line(error)})") from None

    def _collected(self, path: Path, arrays: dict[str, np.ndarray]) -> Samples:
        images = arranged(arrays["images"], f"{path}: images")
        labels, count = labelled(arrays["labels"], self.classes, f"{path}: labels")
        for name, array in arrays.items():
            if array.shape[:1] != images.shape[:1] or (name != "images" and array.ndim != 1):
                raise UserError(
                    f"{path}: {name} must be ({len(images)},), one of each image, got {array.shape}"
                )
        users, test = arrays.get("users"), arrays.get("test")
        if test is not None and test.dtype.kind != "b":
            raise UserError(f"{path}: test must be true or false for each image, got {test.dtype}")
        return collected(
            str(path), images, labels, count, users=users, is_test=test, classes=self.classes or ()
        )


def _read(file: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    held = [m.removesuffix(".npy") for m in file.namelist() if m.endswith(".npy")]
    if name not in held:
        raise UserError(f"{path}: no array '{name}'; it holds {', '.join(held) or 'none'}")
    with file.open(f"{name}.npy") as member:
        shape, dtype = _header(member)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        # What the header promises is allocated before it is read.
        if (
            dtype.hasobject
            or not dtype.itemsize
            or size + member.tell() != file.getinfo(f"{name}.npy").file_size
        ):
            raise ValueError(f"{name} holds objects, nothing, or other than {size} bytes")
    with file.open(f"{name}.npy") as member:
        return np.asarray(npy.read_array(member, allow_pickle=False))


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype
