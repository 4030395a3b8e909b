"""Images that anybody brings: hostile until checked, all of one shape in the end."""

import io
import os
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmark.data.reading import quantize
from benchmark.utils.errors import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # Pillow's readers of other formats are not reached
MOST_PIXELS = 2**20
"""Of an image: its header is believed up to here, and every image stays in memory."""
MOST_BYTES = 2**24
"""Of an encoded image; so many pixels never need as much."""
_GRAY, _COLOR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "CMYK", "YCbCr")


def library(module: str, package: str) -> Any:
    """A library that only some sources need; imported late, so that the core runs without it.

    Raises:
        UserError: it is not installed; says how it would be.
    """
    try:
        return import_module(module)
    except ImportError:
        raise UserError(
            f"{module} is not installed, and these data need it: pip install '{package}'"
        ) from None


def decoded(content: bytes, where: str) -> np.ndarray:
    """An encoded image as ``(1, H, W)`` or ``(3, H, W)`` uint8; transparency is dropped.

    Raises:
        UserError: it is none, cut, damaged, of more than ``MOST_PIXELS`` or of 16 bits; names
            ``where``.
    """
    image = library("PIL.Image", "pillow")
    if len(content) > MOST_BYTES:
        raise UserError(f"{where}: an image file of more than {MOST_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below, or of metadata
            with image.open(io.BytesIO(content), formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise image.DecompressionBombError
                if opened.mode not in _GRAY + _COLOR:
                    raise UserError(
                        f"{where}: pixels of mode {opened.mode}; 8 bits of gray or color expected"
                    )
                pixels = np.asarray(opened.convert("L" if opened.mode in _GRAY else "RGB"))
    except image.UnidentifiedImageError:
        raise UserError(f"{where}: not an image, or none of {', '.join(FORMATS)}") from None
    except image.DecompressionBombError:
        raise UserError(
            f"{where}: more than the {MOST_PIXELS:,} pixels that are read; scale the images down"
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{where}: truncated or corrupt image ({one_line(error)})") from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def stacked(images: Iterable[np.ndarray], names: Sequence[str], source: str) -> np.ndarray:
    """Images of one size as ``(n, C, H, W)``; gray ones among colored ones become color.

    Raises:
        UserError: sizes differ, or they would not fit in memory; names both images.
    """
    found: list[np.ndarray] = []
    for name, image in zip(names, images, strict=True):
        if not found:
            check_room(len(names) * image.size, source)
        elif image.shape[1:] != found[0].shape[1:]:
            raise UserError(
                f"{name}: {_size(image)} pixels, and {names[0]} has {_size(found[0])}: "
                "images must be of one size"
            )
        found.append(image)
    channels = max(len(image) for image in found)
    return np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in found])


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape[1:]))


def check_room(size: int, source: str) -> None:
    """Refuse what its own header says to be more than half of the machine's memory.

    Raises:
        UserError: names ``source``.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory // 2:
        raise UserError(
            f"{source}: {size / 2**30:,.1f} GiB of images or more, and this machine has "
            f"{memory / 2**30:,.1f} GiB of memory; take a part of them, or smaller ones"
        )


def arranged(array: np.ndarray, where: str) -> np.ndarray:
    """Arrays of images as ``(n, C, H, W)`` uint8.

    Args:
        array: ``(n, H, W)``, ``(n, H, W, C)`` or ``(n, C, H, W)`` with one channel or three; whole
            numbers from 0 to 255, or floats from 0 to 1.
        where: what errors call it.

    Raises:
        UserError: another shape, type or range.
    """
    shape = array.shape
    if len(shape) == 4 and shape[3] in (1, 3):
        array = np.moveaxis(array, 3, 1)
    elif len(shape) == 3:
        array = array[:, None]
    elif len(shape) != 4 or shape[1] not in (1, 3):
        raise UserError(
            f"{where}: images of (n, H, W), (n, H, W, C) or (n, C, H, W) with 1 or 3 channels "
            f"expected, got ({', '.join(map(str, shape))})"
        )
    if 0 in shape or np.prod(array.shape[2:]) > MOST_PIXELS:
        raise UserError(f"{where}: images of 1 to {MOST_PIXELS:,} pixels expected, got {shape}")
    if array.dtype.kind == "f":
        return quantize(array, where)
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise UserError(f"{where}: pixels must be whole numbers from 0 to 255, or floats in [0, 1]")
    return np.ascontiguousarray(array, np.uint8)
