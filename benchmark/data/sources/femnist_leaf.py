"""FEMNIST as LEAF writes it: folders of JSON shards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from benchmark.data.reading import (
    SIDE,
    WriterImages,
    check_labels,
    join,
    quantize,
    read_file,
)
from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError, one_line

Classes = Literal["digits", "all"]


@dataclass(frozen=True, kw_only=True)
class FemnistLeaf(Source):
    """Handwritten digits and letters by the writers of NIST SD 19, in LEAF's layout.

    A shard is JSON, plain or ``.gz``, with ``users``, ``num_samples`` and ``user_data``: for each
    user ``x`` (784 floats an image, 1.0 = paper) and ``y`` (0–9 digits, then 26 capitals and 26
    small letters). LEAF's own division into ``train/`` and ``test/`` is kept where it is there.

    Args:
        path: folder with ``train/`` and ``test/``, or with the shards themselves.
        classes: ``digits`` (10 classes) or ``all`` (62). With ``digits``, writers without a digit
            to train on are left out.

    Raises:
        ValueError: ``classes`` is neither.

    Reference:
        Caldas et al., "LEAF: A Benchmark for Federated Settings", arXiv 1812.01097.
    """

    name: ClassVar[str] = "femnist_leaf"
    license: ClassVar[str] = "NIST SD 19, a US government work; LEAF is BSD 2-clause"
    homepage: ClassVar[str] = "https://leaf.cmu.edu"

    path: str | None = None
    classes: Classes = "digits"

    def __post_init__(self) -> None:
        if self.classes not in get_args(Classes):
            raise ValueError(f"classes must be digits or all, got {self.classes}")

    def load(self) -> Samples:
        """Read every shard.

        Raises:
            UserError: a shard is missing, corrupt or lies about its content; names the file.
        """
        if self.path is None:
            raise UserError("femnist_leaf: give data.path=FOLDER, a folder of LEAF's JSON shards")
        folder = Path(self.path).expanduser()
        own_split = (folder / "train").is_dir() or (folder / "test").is_dir()
        if own_split:
            parts = _read_folder(folder / "train", False) + _read_folder(folder / "test", True)
        else:
            parts = _read_folder(folder, False)
        if self.classes == "digits":
            parts = _digits(parts)
            if not parts:
                raise UserError(f"{folder}: its shards hold no digit to train on; see data.classes")
        return join(parts, 10 if self.classes == "digits" else 62, own_split)


def _read_folder(folder: Path, is_test: bool) -> list[WriterImages]:
    shards = sorted((*folder.glob("*.json"), *folder.glob("*.json.gz")))
    if not shards:
        raise UserError(f"{folder}: no LEAF shard (*.json or *.json.gz) there")
    parts: dict[str, WriterImages] = {}
    for shard in shards:
        for part in _read_shard(shard, is_test):
            if part.writer in parts:
                raise UserError(f"{shard}: writer {part.writer} is in another shard, too")
            parts[part.writer] = part
    return list(parts.values())


def _read_shard(path: Path, is_test: bool) -> list[WriterImages]:
    try:
        shard = json.loads(read_file(path))
        users, counts, data = shard["users"], shard["num_samples"], shard["user_data"]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: truncated or corrupt ({one_line(error)})") from None
    except (KeyError, TypeError):
        raise UserError(
            f"{path}: not a LEAF shard: users, num_samples and user_data expected"
        ) from None
    if not (isinstance(users, list) and isinstance(counts, list) and isinstance(data, dict)):
        raise UserError(
            f"{path}: not a LEAF shard: users and num_samples are lists, user_data an object"
        )
    if len(users) != len(counts) or sorted(map(str, users)) != sorted(data):
        raise UserError(
            f"{path}: {len(users)} users, {len(counts)} num_samples and {len(data)} user_data "
            "do not belong together"
        )
    return [
        _read_writer(path, str(user), count, data.pop(str(user)), is_test)
        for user, count in zip(users, counts, strict=True)
    ]


def _read_writer(path: Path, writer: str, count: Any, content: Any, is_test: bool) -> WriterImages:
    where = f"{path}: writer {writer}"
    try:
        x, y = content["x"], content["y"]
        found = len(x), len(y)
    except (KeyError, TypeError):
        raise UserError(f"{where}: x and y expected") from None
    if found != (count, count):
        raise UserError(
            f"{where}: num_samples says {count} images, but x has {found[0]} and y has {found[1]}"
        )
    if not count:
        raise UserError(f"{where}: no images")
    try:
        pixels, labels = np.array(x, np.float32), np.array(y)
    except (TypeError, ValueError):
        raise UserError(f"{where}: x and y must hold numbers, as many for every image") from None
    if pixels.shape != (count, SIDE * SIDE):
        raise UserError(
            f"{where}: {SIDE * SIDE} pixels an image expected, found {pixels.shape[1:]}"
        )
    images = quantize(pixels, where).reshape(-1, SIDE, SIDE)
    return WriterImages(writer, images, check_labels(labels, 62, where), is_test)


def _digits(parts: list[WriterImages]) -> list[WriterImages]:
    kept = []
    for part in parts:
        digit = part.labels < 10
        if digit.any():
            kept.append(
                WriterImages(part.writer, part.images[digit], part.labels[digit], part.is_test)
            )
    trained = {part.writer for part in kept if not part.is_test}
    return [part for part in kept if part.writer in trained]
