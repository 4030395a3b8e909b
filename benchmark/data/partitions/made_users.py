"""What the schemes share that make users of images, rather than take the source's writers."""

from dataclasses import dataclass

import numpy as np

from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class MadeUsers(Partition):
    """A scheme that makes a given number of users.

    Args:
        users: number of users, at least 1; as many as the images suffice for.
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.

    Raises:
        ValueError: an argument out of its range.
    """

    users: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.users < 1:
            raise ValueError(f"users must be at least 1, got {self.users}")

    def names(self, samples: Samples) -> tuple[str, ...]:
        """The numbers of the users."""
        return tuple(map(str, range(self.users)))

    def check_room(self, samples: Samples) -> None:
        """Raise a UserError if the images do not suffice for every user's ``least`` number."""
        least, images = self.least(samples), len(samples.labels)
        if self.users * least > images:
            users = f"{self.users} {self.user_kind}"
            raise UserError(
                f"partition: {users} of at least {least} images each need {self.users * least} "
                f"images, and there are {images}: {self.users - images // least} would fall short; "
                + (f"choose users=1 to {images // least}" if images >= least else "too few for one")
            )

    def deal(self, order: np.ndarray) -> np.ndarray:
        """Users of the images at the positions ``order`` is of: equal contiguous runs of them.

        Args:
            order: a permutation of ``0 .. n - 1``; the first run of it goes to user 0.

        Returns:
            ``(n,)`` int64 with ``user[order[i]] = floor(i · users / n)``.
        """
        user = np.empty(len(order), np.int64)
        user[order] = np.arange(len(order)) * self.users // max(len(order), 1)
        return user
