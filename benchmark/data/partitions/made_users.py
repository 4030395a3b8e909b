"""What the schemes share that make users of images, rather than take the source's writers."""

from dataclasses import dataclass

import numpy as np

from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError

MOVED_AT_MOST = 0.1
"""Largest share of the images that may be moved to give every user the minimum."""


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

    def filled(
        self, user: np.ndarray, least: int, rng: np.random.Generator, drawn_by: str
    ) -> np.ndarray:
        """``user`` itself, in which those that a draw left short got random images of the largest.

        Args:
            user: ``(n,)``, whose each image is; changed in place.
            least: images that every user gets.
            rng: draws which images.
            drawn_by: the parameter that skews the draw less where it is larger.

        Raises:
            UserError: more than ``MOVED_AT_MOST`` of the images would have to be moved.
        """
        counts = np.bincount(user, minlength=self.users)
        missing = np.maximum(least - counts, 0)
        if missing.sum() > MOVED_AT_MOST * len(user):
            raise UserError(
                f"partition: {drawn_by}={getattr(self, drawn_by):g} leaves "
                f"{(missing > 0).sum()} of {self.users} users with fewer than {least} images, and "
                f"{missing.sum()} of {len(user)} images would have to be moved (at most "
                f"{MOVED_AT_MOST:.0%} may); choose a larger {drawn_by}, fewer users, or smaller "
                "min_images"
            )
        for poor in np.repeat(np.arange(self.users), missing):
            rich = counts.argmax()
            user[rng.choice(np.flatnonzero(user == rich))] = poor
            counts[rich] -= 1
            counts[poor] += 1
        return user
