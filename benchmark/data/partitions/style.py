"""By style: users that write alike, where the source does not know its writers."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.reading import SIDE
from benchmark.data.samples import Samples
from benchmark.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Style(MadeUsers):
    """Users made by slant and amount of ink, the same style in every class. Not writers.

    Within each class, images are ordered by slant and cut into about ``√users`` bands; within
    each band they are ordered by ink and dealt in contiguous runs. User ``u`` gets run ``u`` of
    every class: upright thin digits, say, from 0 to 9. Nothing is drawn.

    Args:
        users: number of users; every user gets an image of every class as long as it is no more
            than the smallest class has images.
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.
    """

    name: ClassVar[str] = "style"
    user_kind: ClassVar[str] = "style users"

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Order every class and deal it.

        Raises:
            UserError: too few images for so many users, or they are no gray images of 28 x 28.
        """
        shape = samples.images.shape[1:]
        if shape != (1, SIDE, SIDE):
            raise UserError(
                f"partition: style users are made of handwriting of 1 x {SIDE} x {SIDE}, and these "
                f"images are {' x '.join(map(str, shape))}; choose partition=dirichlet or iid"
            )
        sizes = np.bincount(samples.labels, minlength=samples.num_classes)
        least = self.least(samples)
        if _smallest_share(sizes, self.users) < least:
            possible = max(
                (n for n in range(1, self.users) if _smallest_share(sizes, n) >= least), default=0
            )
            raise UserError(
                f"partition: of {self.users} style users, some would have fewer than {least} "
                f"images: of {len(samples.labels)} images, every class is dealt to all of them; "
                + (f"choose users=1 to {possible}" if possible else "too few images for one user")
            )
        slant, ink = style(samples.images[:, 0])
        user = np.empty(len(samples.labels), np.int64)
        for label in range(samples.num_classes):
            members = np.flatnonzero(samples.labels == label)
            user[members] = self._deal_class(slant[members], ink[members])
        return user

    def _deal_class(self, slant: np.ndarray, ink: np.ndarray) -> np.ndarray:
        n, users = len(slant), self.users
        by_slant = np.argsort(slant, kind="stable")
        order = np.empty(n, np.int64)
        for band in np.array_split(np.arange(users), math.isqrt(users)):
            # User u's run starts where deal() starts it: at ceil(u · n / users).
            start, stop = -(-band[0] * n // users), -(-(band[-1] + 1) * n // users)
            members = by_slant[start:stop]
            order[start:stop] = members[np.argsort(ink[members], kind="stable")]
        return self.deal(order)


def _smallest_share(sizes: np.ndarray, users: int) -> int:
    """Images of the user who gets fewest, if each class is dealt as evenly as it can be."""
    return int((sizes // users).sum())


def style(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slant and amount of ink from image moments.

    With ink ``w = 255 − image``, its central moments ``μ₁₁ = Σ w (x − x̄)(y − ȳ)`` and
    ``μ₀₂ = Σ w (y − ȳ)²``, the slant is ``−μ₁₁ / μ₀₂``: pixels to the right for each pixel up,
    above 0 where the writing leans to the right.

    Args:
        images: ``(n, 28, 28)`` uint8, 255 = paper.

    Returns:
        slant ``(n,)`` float64, within about ±1.5 for digits and 0 for a blank image, and ink
        ``(n,)`` float64, the sum of ``w``.
    """
    rows, columns = images.shape[1:]
    y, x = (axis.ravel().astype(np.float64) for axis in np.mgrid[:rows, :columns])
    basis = np.stack((np.ones_like(x), x, y, x * y, y * y), axis=1)
    moments = np.empty((len(images), basis.shape[1]))
    for start in range(0, len(images), 4096):
        ink = 255.0 - images[start : start + 4096].reshape(-1, rows * columns)
        # Whole numbers below 2^53: the products are exact, whatever the order of summation.
        moments[start : start + 4096] = ink @ basis
    m00, m10, m01, m11, m02 = moments.T
    mu11, mu02 = m00 * m11 - m10 * m01, m00 * m02 - m01 * m01
    return -mu11 / np.where(mu02 > 0, mu02, 1), m00
