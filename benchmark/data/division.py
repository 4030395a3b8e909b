"""From samples to users with a training and a test split each."""

from dataclasses import dataclass

import numpy as np

from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError
from benchmark.utils.randomness import numpy_generator


@dataclass(frozen=True)
class Division:
    """Whose each image is, and which split it is in.

    Attributes:
        user: ``(n,)`` int64 in ``0 .. len(names) - 1``.
        is_test: ``(n,)`` bool.
        names: the users' ids.
    """

    user: np.ndarray
    is_test: np.ndarray
    names: tuple[str, ...]


def divide(samples: Samples, partition: Partition) -> Division:
    """Assign every image to a user, and hold out test images unless the source has a split.

    Raises:
        UserError: the scheme cannot divide these samples, or a user would have no training image.
    """
    user = partition.assign(samples, numpy_generator(partition.seed, 0, "partition"))
    names = partition.names(samples)
    is_test = samples.is_test
    if is_test is None:
        rng = numpy_generator(partition.seed, 0, "hold out")
        is_test = hold_out(user, samples.labels, partition.test_fraction, rng)
    trained = np.bincount(user[~is_test], minlength=len(names))
    if not trained.all():
        empty = np.flatnonzero(trained == 0)
        more = f" (nor do {len(empty) - 1} others)" if len(empty) > 1 else ""
        raise UserError(
            f"partition: user {names[empty[0]]} of {len(names)} has no training image{more}"
        )
    return Division(user, is_test, names)


def hold_out(
    user: np.ndarray, labels: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Hold out a share of each user's images, stratified by class as far as counts allow.

    User ``u`` with ``n`` images holds out ``round(fraction · n)`` of them, at least 1 and at most
    ``n − 1``; of a class with ``c`` images ``⌊fraction · c⌋``, and one more where the fractional
    part is largest (ties at random).

    Args:
        user, labels: ``(n,)``, whole numbers from 0.
        fraction: within (0, 1).
        rng: draws which images.

    Returns:
        ``(n,)`` bool, True for test images. A user with a single image keeps it for training.
    """
    held = np.zeros(len(user), bool)
    # Shuffled, then ordered by user: each user's images follow each other in random order.
    order = rng.permutation(len(user))
    order = order[np.argsort(user[order], kind="stable")]
    for images in np.split(order, np.flatnonzero(np.diff(user[order])) + 1):
        if len(images) < 2:
            continue
        images = images[np.argsort(labels[images], kind="stable")]
        _, starts, counts = np.unique(labels[images], return_index=True, return_counts=True)
        total = min(max(round(fraction * len(images)), 1), len(images) - 1)
        quota = _apportion(fraction * counts, total, rng)
        rank = np.arange(len(images)) - np.repeat(starts, counts)
        held[images[rank < np.repeat(quota, counts)]] = True
    return held


def _apportion(shares: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers near ``shares`` that sum to ``total``, by the largest remainder."""
    quota = np.floor(shares).astype(np.int64)
    order = np.lexsort((rng.random(len(shares)), quota - shares))
    quota[order[: total - int(quota.sum())]] += 1
    return quota
