"""What the sources share whose images a user brings: where they are, labels, users, classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError

MOST_CLASSES = 2**16


@dataclass(frozen=True, kw_only=True)
class OwnImages(Source):
    """Images that a user brings.

    Args:
        path: where they are.
        license: under which they may be used, for the record.
    """

    homepage: ClassVar[str] = ""

    path: str | None = None
    license: str = "unknown"  # type: ignore[misc]

    def place(self, what: str) -> Path:
        """``path``, which must be given.

        Raises:
            UserError: it is not; says that it should be ``what``.
        """
        if self.path is None:
            raise UserError(f"{self.name}: give data.path=PATH, {what}")
        return Path(self.path).expanduser()


def labelled(labels: np.ndarray, classes: Sequence[str] | None, where: str) -> tuple[Any, int]:
    """Labels as whole numbers ``(n,)``, and the number of classes.

    Args:
        labels: whole numbers, or names of ``classes``.
        classes: names, in order, if they are known.
        where: what errors call the labels.

    Raises:
        UserError: text without ``classes`` or none of them, or neither text nor whole numbers.
    """
    if classes and len(set(classes)) < len(classes):
        raise UserError(f"{where}: a class is named twice in {', '.join(classes)}")
    if labels.dtype.kind in "OUT":
        if not all(isinstance(label, str) for label in labels.tolist()):
            raise UserError(f"{where}: labels must be whole numbers from 0, or names of classes")
        names = sorted(set(labels.tolist()))
        shown = ",".join(name[:40] for name in names[:12]) + (",..." if len(names) > 12 else "")
        if not classes:
            raise UserError(
                f"{where}: labels are text; say what the classes are, in their order: "
                f"data.classes=[{shown}]"
            )
        if unknown := [name for name in names if name not in classes]:
            raise UserError(
                f"{where}: '{unknown[0][:40]}' is no class of data.classes; valid: "
                + ", ".join(classes)
            )
        order = {name: number for number, name in enumerate(classes)}
        labels = np.array([order[name] for name in labels.tolist()], np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{where}: labels must be whole numbers from 0, or names of classes")
    count = len(classes) if classes else int(labels.max()) + 1 if len(labels) else 0
    outside = labels[(labels < 0) | (labels >= min(max(count, 1), MOST_CLASSES))]
    if len(outside):
        raise UserError(
            f"{where}: label {outside[0]} is outside the classes 0 to "
            f"{(count if classes else MOST_CLASSES) - 1}"
        )
    return labels, count


def collected(
    where: str,
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    users: np.ndarray | None = None,
    is_test: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> Samples:
    """What was read, as samples.

    Args:
        where: what errors call the data.
        images: ``(n, C, H, W)`` uint8.
        labels: ``(n,)``, below ``num_classes``.
        num_classes: number of classes.
        users: ``(n,)`` of numbers or text, whose each image is.
        is_test: ``(n,)``, the data's own split.
        classes: names of the classes.

    Raises:
        UserError: there is no image, or a class has none to train on.
    """
    trained = labels if is_test is None else labels[~is_test]
    counts = np.bincount(trained.astype(np.int64), minlength=num_classes)
    if num_classes < 2:
        raise UserError(f"{where}: two classes or more expected, found {num_classes}")
    if not counts.all():
        empty = int(counts.argmin())
        name = f" ({classes[empty]})" if classes else ""
        raise UserError(
            f"{where}: class {empty}{name} of {num_classes} has no image to train on; "
            "classes are counted from 0"
        )
    names: tuple[str, ...] = ()
    writers = None
    if users is not None:
        if users.dtype.kind not in "iuU" and not all(isinstance(u, str) for u in users.tolist()):
            raise UserError(f"{where}: users must be whole numbers or text")
        found, writers = np.unique(users, return_inverse=True)
        names, writers = tuple(map(str, found.tolist())), writers.astype(np.int64)
    try:
        "".join([*names, *classes]).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: names of users or classes are not UTF-8") from None
    return Samples(
        images=images,
        labels=labels.astype(np.min_scalar_type(num_classes - 1)),
        num_classes=num_classes,
        writers=writers,
        writer_names=names,
        is_test=is_test if is_test is not None and is_test.any() else None,
        user_kind="users",
        class_names=tuple(classes),
    )
