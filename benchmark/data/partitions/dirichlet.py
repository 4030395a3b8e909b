"""Dirichlet over labels: users that differ in which classes they have."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.samples import Samples
from benchmark.utils.checks import positive


@dataclass(frozen=True, kw_only=True)
class Dirichlet(MadeUsers):
    """Each class divided among the users in proportions drawn from ``Dir(α, ..., α)``.

    Users that are left with fewer than ``min_images`` are given random images of the users that
    have most, one by one; at most a tenth of all images, so that what was drawn still shows.

    Args:
        alpha: concentration, above 0; 0.1 is strongly skewed, 1 moderately, 100 almost IID.
        users: number of users, 1 to half the number of images.
        min_images: least number of images of a user.
        test_fraction, seed: see :class:`~benchmark.data.samples.Partition`.

    Raises:
        ValueError: an argument out of its range.

    Reference:
        Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML 2019;
        Li et al., "Federated Learning on Non-IID Data Silos", ICDE 2022.
    """

    name: ClassVar[str] = "dirichlet"
    user_kind: ClassVar[str] = "Dirichlet users"

    min_images: int = 10
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("alpha", self.alpha)

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Draw the proportions, divide, and give to users that fall short.

        Raises:
            UserError: too few images for so many users, or too many would have to be moved.
        """
        self.check_room(samples)
        user = np.empty(len(samples.labels), np.int64)
        for label in range(samples.num_classes):
            members = rng.permutation(np.flatnonzero(samples.labels == label))
            share = rng.dirichlet(np.full(self.users, self.alpha))
            cuts = np.rint(np.cumsum(share)[:-1] * len(members)).astype(np.int64)
            for number, images in enumerate(np.split(members, cuts)):
                user[images] = number
        return self.filled(user, self.least(samples), rng, "alpha")
