"""Quantity skew: users that differ in how many images they have, and in nothing else."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.samples import Samples
from benchmark.utils.checks import positive


@dataclass(frozen=True, kw_only=True)
class Quantity(MadeUsers):
    """Shuffled images, of which user u gets the share q_u, q ~ ``Dir(β, ..., β)``.

    Users that are left with fewer than ``min_images`` are given random images of the users that
    have most, one by one; at most a tenth of all images, so that what was drawn still shows.

    Args:
        beta: concentration β, above 0; 0.5 is skewed, 10 almost even.
        users: number of users, 1 to half the number of images.
        min_images: least number of images of a user.
        test_fraction, seed: see :class:`~benchmark.data.samples.Partition`.

    Raises:
        ValueError: an argument out of its range.

    Reference:
        Li et al., "Federated Learning on Non-IID Data Silos", ICDE 2022, section IV-D.
    """

    name: ClassVar[str] = "quantity"
    user_kind: ClassVar[str] = "users of unlike size"

    min_images: int = 10
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("beta", self.beta)

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Draw the sizes, deal, and give to users that fall short.

        Raises:
            UserError: too few images for so many users, or too many would have to be moved.
        """
        self.check_room(samples)
        n = len(samples.labels)
        order = rng.permutation(n)
        share = rng.dirichlet(np.full(self.users, self.beta))
        stops = np.rint(np.cumsum(share)[:-1] * n)
        user = np.empty(n, np.int64)
        user[order] = np.searchsorted(stops, np.arange(n), side="right")
        return self.filled(user, self.least(samples), rng, "beta")
