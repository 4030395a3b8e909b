"""Tables of images: parquet files, a folder of them, or a data set of the Hugging Face hub."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.images import arranged, check_room, decoded, library, stacked
from benchmark.data.own_images import OwnImages, collected, labelled
from benchmark.data.samples import Samples
from benchmark.utils.errors import UserError, one_line

_ROWS = 1000  # read at a time
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Parquet(OwnImages):
    """A table with a column of images, one of labels and, where users are known, one of them.

    An image is encoded (PNG, JPEG, WebP or BMP, as binary or as a struct with ``bytes``, as the
    ``datasets`` library writes it) or a nested list of rows, whole numbers to 255 or floats to 1.
    Files that say ``test`` in their name or folder are the data's own split; those that say
    ``validation`` are the split where none says ``test``, and else left out. Classes have the names
    that the file knows.

    Args:
        path: a file, a folder, or the id of a data set of the Hugging Face hub, OWNER/NAME.
        license: under which the images may be used, for the record.
        image, label: names of columns.
        user: name of the column that says whose an image is; None where nothing does.
        classes: their names, in the order of the labels; must be given where labels are text and
            the file knows no names.
    """

    name: ClassVar[str] = "parquet"

    image: str = "image"
    label: str = "label"
    user: str | None = None
    classes: Sequence[str] | None = None

    def load(self) -> Samples:
        """Read every file.

        Raises:
            UserError: a file or column is missing, damaged or not what it should be; names it.
        """
        place = self.place("a file, a folder of files, or OWNER/NAME of the Hugging Face hub")
        if not place.exists():
            place = _from_hub(str(self.path))
        files = _files(place)
        tables = [self._table(path) for path in files]
        names = next((table.class_names for table in tables if table.class_names), None)
        classes = self.classes or names or ()
        where = f"{place}: column {self.label}"
        if len({table.labels.dtype.kind for table in tables}) > 1:
            raise UserError(f"{where}: of another type in some files than in others")
        labels, count = labelled(np.concatenate([t.labels for t in tables]), classes, where)
        users = [table.users for table in tables if table.users is not None]
        return collected(
            str(place),
            _joined([table.images for table in tables], [str(path) for path in files]),
            labels,
            count,
            users=np.concatenate(users) if users else None,
            is_test=np.repeat(list(files.values()), [len(table.labels) for table in tables]),
            classes=classes,
        )

    def _table(self, path: Path) -> "_Table":
        arrow = library("pyarrow", "pyarrow")
        try:
            with library("pyarrow.parquet", "pyarrow").ParquetFile(path) as file:
                return self._read(file, path)
        except (OSError, ValueError, arrow.ArrowException) as error:
            raise UserError(
                f"{path}: truncated, corrupt or no parquet file ({one_line(error)})"
            ) from None

    def _read(self, file: Any, path: Path) -> "_Table":
        held, metadata = file.schema_arrow.names, file.metadata
        asked = {"image": self.image, "label": self.label, "user": self.user}
        wanted = {key: column for key, column in asked.items() if column is not None}
        for key, column in wanted.items():
            if held.count(column) != 1:
                raise UserError(
                    f"{path}: no column '{column}'; choose data.{key} among {', '.join(held[:20])}"
                )
        if not metadata.num_rows:
            raise UserError(f"{path}: no rows")
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        check_room(sum(group.total_byte_size for group in groups), str(path))
        beside: dict[str, list[np.ndarray]] = {key: [] for key in wanted if key != "image"}

        def columns() -> Iterator[Any]:
            for batch in file.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted.values()))):
                for key, values in beside.items():
                    values.append(_values(batch[wanted[key]], f"{path}: column {wanted[key]}"))
                yield batch[self.image]

        return _Table(
            images=_images(columns(), metadata.num_rows, f"{path}: column {self.image}"),
            labels=np.concatenate(beside["label"]),
            users=np.concatenate(beside["user"]) if "user" in beside else None,
            class_names=_class_names(file.schema_arrow, self.label),
        )


@dataclass(frozen=True)
class _Table:
    """What one file holds: ``(n, C, H, W)`` images, ``(n,)`` of the others, names of classes."""

    images: np.ndarray
    labels: np.ndarray
    users: np.ndarray | None
    class_names: Sequence[str]


def _from_hub(repository: str) -> Path:
    missing = f"{repository}: no such file or folder here"
    if not _HUB.fullmatch(repository) or repository.endswith(".parquet"):
        raise UserError(f"{missing}; see data.path")
    try:
        hub = library("huggingface_hub", "fedbackdoor[hub]")
    except UserError as error:
        raise UserError(f"{missing}; for a data set of the Hugging Face hub: {error}") from None
    try:
        return Path(
            hub.snapshot_download(repository, repo_type="dataset", allow_patterns="*.parquet")
        )
    except Exception as error:  # its HTTP library's, its own and OSError: no base but this
        raise UserError(
            f"{missing}, nor can the Hugging Face hub give it: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from None


def _files(place: Path) -> dict[Path, bool]:
    """The files of a table, and whether each is of the test split."""
    if place.is_file():
        return {place: False}
    splits: dict[str, list[Path]] = {"train": [], "test": [], "validation": []}
    for path in sorted(place.rglob("*.parquet")):
        words = re.split(r"[^a-z]+", str(path.relative_to(place)).lower())
        split = next((s for s in ("test", "validation", "train") if s in words), "train")
        splits[split].append(path)
    if not splits["train"]:
        raise UserError(f"{place}: no *.parquet to train on there; see data.path")
    test = splits["test"] or splits["validation"]
    return dict.fromkeys(splits["train"], False) | dict.fromkeys(test, True)


def _images(columns: Iterator[Any], rows: int, where: str) -> np.ndarray:
    types, first = library("pyarrow.types", "pyarrow"), next(columns)
    columns, kind = chain([first], columns), first.type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (types.is_binary(kind) or types.is_large_binary(kind)):
        parts = [_nested(column, where) for column in columns]
        return _joined(parts, [where] * len(parts))

    def images() -> Iterator[np.ndarray]:
        row = 0
        for column in columns:
            for value in column.to_pylist():
                content = value.get("bytes") if isinstance(value, dict) else value
                if not content:
                    raise UserError(f"{where}: row {row} has no image in it")
                yield decoded(content, f"{where}: row {row}")
                row += 1

    return stacked(images(), [f"{where}: row {row}" for row in range(rows)], where)


def _nested(column: Any, where: str) -> np.ndarray:
    """Nested lists of one shape."""
    types, compute = library("pyarrow.types", "pyarrow"), library("pyarrow.compute", "pyarrow")
    shape = [len(column)]
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    while any(is_list(column.type) for is_list in lists):
        lengths = compute.list_value_length(column)
        if column.null_count or len(lengths.unique()) != 1:
            raise UserError(f"{where}: images must be of one size, and none missing")
        shape.append(lengths[0].as_py())
        column = column.flatten()
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        raise UserError(
            f"{where}: encoded images, or nested lists of numbers expected, got {column.type}"
        )
    return arranged(column.to_numpy(zero_copy_only=False).reshape(shape), where)


def _joined(parts: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    for part, name in zip(parts, names, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            here, first = (" x ".join(map(str, p.shape[1:])) for p in (part, parts[0]))
            raise UserError(f"{name}: images of {here}, others of {first}; one size expected")
    return np.concatenate(parts)


def _values(column: Any, where: str) -> np.ndarray:
    if column.null_count:
        raise UserError(f"{where}: a value is missing")
    if library("pyarrow.types", "pyarrow").is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.to_numpy(zero_copy_only=False)


def _class_names(schema: Any, label: str) -> Sequence[str]:
    """What the ``datasets`` library writes into a schema."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return [str(name) for name in names] if isinstance(names, list) else ()
