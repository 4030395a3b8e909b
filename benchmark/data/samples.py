"""What a source delivers and what a partition scheme divides."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Labelled images, with their writers where the source knows them.

    Attributes:
        images: ``(n, 28, 28)`` uint8; 255 is paper, 0 is ink.
        labels: ``(n,)`` uint8, below ``num_classes``.
        num_classes: number of classes.
        writers: ``(n,)`` int64 index into ``writer_names``, or None.
        writer_names: the source's own ids.
        is_test: ``(n,)`` bool, the source's own split, or None where it has none.
    """

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    writers: np.ndarray | None = None
    writer_names: tuple[str, ...] = ()
    is_test: np.ndarray | None = None


class Source(ABC):
    """A published data set. One file each; ``load`` reads it, downloading it where it can."""

    name: ClassVar[str]
    license: ClassVar[str]
    homepage: ClassVar[str]

    @abstractmethod
    def load(self) -> Samples:
        """Read everything.

        Raises:
            UserError: a file is missing, corrupt or not what it claims; names the file.
        """


class Partition(ABC):
    """A way to divide images among users. Every image goes to exactly one user."""

    user_kind: ClassVar[str]

    @abstractmethod
    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """The user of every image, ``(n,)`` int64 in ``0 .. users - 1``.

        Raises:
            UserError: the scheme cannot divide these samples as asked.
        """
