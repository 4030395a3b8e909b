"""IID: users that do not differ."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.samples import Samples


@dataclass(frozen=True, kw_only=True)
class Iid(MadeUsers):
    """Images shuffled and dealt in equal shares, to within one image.

    Args:
        users: number of users, 1 to half the number of images.
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.
    """

    name: ClassVar[str] = "iid"
    user_kind: ClassVar[str] = "IID users"

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Deal a random permutation.

        Raises:
            UserError: too few images for so many users.
        """
        self.check_room(samples)
        return self.deal(rng.permutation(len(samples.labels)))
