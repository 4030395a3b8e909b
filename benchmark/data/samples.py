"""What a source delivers and what a partition scheme divides."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Labelled images, with their writers where the source knows them.

    Attributes:
        images: ``(n, C, H, W)`` uint8; of handwriting 255 is paper, 0 is ink.
        labels: ``(n,)`` uint8, or uint16 for more than 256 classes; below ``num_classes``.
        num_classes: number of classes.
        writers: ``(n,)`` int64 index into ``writer_names``, or None.
        writer_names: the source's own ids.
        is_test: ``(n,)`` bool, the source's own split, or None where it has none.
        user_kind: what those are whom ``writers`` tells apart.
        class_names: names of the classes, if there are any.
    """

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    writers: np.ndarray | None = None
    writer_names: tuple[str, ...] = ()
    is_test: np.ndarray | None = None
    user_kind: str = "writers"
    class_names: tuple[str, ...] = ()


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


@dataclass(frozen=True, kw_only=True)
class Partition(ABC):
    """A way to divide images among users. Every image goes to exactly one user.

    Args:
        test_fraction: share of each user's images held out, within (0, 1); not used where the
            source has a split of its own, which is kept.
        min_images: least number of images that a user may have, both splits together.
        seed: what the division draws from.

    Raises:
        ValueError: an argument out of its range.
    """

    name: ClassVar[str]
    user_kind: ClassVar[str]

    test_fraction: float = 0.2
    min_images: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise ValueError(
                f"test_fraction must be between 0 and 1, both excluded, got {self.test_fraction}"
            )
        if self.min_images < 1:
            raise ValueError(f"min_images must be at least 1, got {self.min_images}")

    def least(self, samples: Samples) -> int:
        """Images that every user needs: ``min_images``, and one for each split to be made."""
        return max(self.min_images, 2 if samples.is_test is None else 1)

    def kind(self, samples: Samples) -> str:
        """What its users are: ``user_kind``, where the source says nothing else."""
        return self.user_kind

    @abstractmethod
    def names(self, samples: Samples) -> tuple[str, ...]:
        """The users' ids; as many as there are users."""

    @abstractmethod
    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """The user of every image, ``(n,)`` int64 in ``0 .. users - 1``.

        Raises:
            UserError: the scheme cannot divide these samples as asked.
        """
