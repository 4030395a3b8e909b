"""Reading published files without trusting them: every fault names the file."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.samples import Samples
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.files import gunzip

SIDE = 28


@dataclass(frozen=True)
class WriterImages:
    """What one file holds of one writer: ``(n, 28, 28)`` uint8 images, ``(n,)`` uint8 labels."""

    writer: str
    images: np.ndarray
    labels: np.ndarray
    is_test: bool


def read_file(path: Path) -> bytes:
    """The whole content, decompressed where the name ends in ``.gz``.

    Raises:
        UserError: the file is missing, unreadable, truncated or corrupt.
    """
    try:
        return gunzip(path) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated, corrupt or not readable ({one_line(error)})") from None


def read_idx(path: Path, dtype: str, row: tuple[int, ...]) -> np.ndarray:
    """An array in the IDX format of MNIST, ``(n, *row)``.

    The format is two zero bytes, a type code, the number of axes, their lengths as big-endian
    int32, and the values.

    Args:
        path: the file, plain or ``.gz``.
        dtype: ``"u1"`` or ``">i4"``.
        row: the length of every axis but the first.

    Raises:
        UserError: as :func:`read_file`, or the header or the length is not what it should be.
    """
    content = read_file(path)
    code = {"u1": 0x08, ">i4": 0x0C}[dtype]
    axes = 1 + len(row)
    if len(content) < 4 + 4 * axes or content[:4] != bytes((0, 0, code, axes)):
        raise UserError(
            f"{path}: not an IDX file of {axes} axes and type code {code:#04x}: "
            f"it starts with {content[:4].hex() or 'nothing'}"
        )
    shape = tuple(int(length) for length in np.frombuffer(content, ">i4", axes, 4))
    if shape[1:] != row:
        found = " x ".join(map(str, shape[1:]))
        raise UserError(f"{path}: {' x '.join(map(str, row))} values a row expected, found {found}")
    expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    found_bytes = len(content) - 4 - 4 * axes
    if expected != found_bytes:
        raise UserError(
            f"{path}: the header promises {shape[0]} rows ({expected} bytes), "
            f"but {found_bytes} bytes follow: truncated or corrupt"
        )
    return np.frombuffer(content, dtype, offset=4 + 4 * axes).reshape(shape)


def check_labels(labels: np.ndarray, num_classes: int, where: str | Path) -> np.ndarray:
    """Labels as ``(n,)`` uint8.

    Raises:
        UserError: a label is no whole number in ``0 .. num_classes - 1``; names ``where``.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{where}: labels must be a list of whole numbers")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise UserError(
            f"{where}: label {labels[outside[0]]} of image {outside[0]} is outside the classes "
            f"0 to {num_classes - 1}"
        )
    return labels.astype(np.uint8)


def quantize(pixels: np.ndarray, where: str | Path) -> np.ndarray:
    """Gray values in [0, 1], 1 = paper, as uint8: ``round(255 x)``.

    Raises:
        UserError: a value is outside [0, 1] or not a number; names ``where``.
    """
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UserError(
            f"{where}: pixels must lie within [0, 1], found {pixels.min():g} to {pixels.max():g}"
        )
    return np.rint(pixels * 255).astype(np.uint8)


def join(parts: Sequence[WriterImages], num_classes: int, own_split: bool) -> Samples:
    """All writers' images as one set of samples, writers in the order of their ids.

    Args:
        parts: at most one for each writer and split, none of them empty.
        num_classes: number of classes.
        own_split: whether ``is_test`` of the parts is a split of the source.
    """
    parts = sorted(parts, key=lambda part: (part.writer, part.is_test))
    names = tuple(sorted({part.writer for part in parts}))
    index = {name: number for number, name in enumerate(names)}
    sizes = [len(part.labels) for part in parts]
    return Samples(
        images=np.concatenate([part.images for part in parts])[:, None],
        labels=np.concatenate([part.labels for part in parts]),
        num_classes=num_classes,
        writers=np.repeat(np.array([index[part.writer] for part in parts], np.int64), sizes),
        writer_names=names,
        is_test=np.repeat(np.array([part.is_test for part in parts]), sizes) if own_split else None,
    )
