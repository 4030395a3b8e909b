"""Shards of the images sorted by label: users with few classes each."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.samples import Samples
from benchmark.utils.checks import at_least
from benchmark.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Shards(MadeUsers):
    """Images sorted by label and cut into users · s equal shards, of which every user gets s.

    A user then has the images of about s classes, at most 2s. Which images of a class lie in which
    shard is drawn.

    Args:
        shards: s, of each user; 2 in the paper, 1 to 5.
        users: number of users, 1 to half the number of images.
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.

    Raises:
        ValueError: an argument out of its range.

    Reference:
        McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
        AISTATS 2017, section 3.
    """

    name: ClassVar[str] = "shards"
    user_kind: ClassVar[str] = "users of shards"

    shards: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("shards", 1, self.shards)

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Sort, cut, and hand out.

        Raises:
            UserError: too few images for so many users or shards.
        """
        self.check_room(samples)
        n, least = len(samples.labels), self.least(samples)
        fitting = [s for s in range(1, self.shards + 1) if s * (n // (self.users * s)) >= least]
        if self.shards not in fitting:
            raise UserError(
                f"partition: of {self.users} users of {self.shards} shards of {n} images, some "
                f"would have fewer than {least}; choose shards={fitting[-1]} or fewer users"
            )
        count = self.users * self.shards
        order = rng.permutation(n)
        order = order[np.argsort(samples.labels[order], kind="stable")]
        owner = rng.permutation(np.arange(count) % self.users)
        user = np.empty(n, np.int64)
        user[order] = owner[np.arange(n) * count // n]
        return user
