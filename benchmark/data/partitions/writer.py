"""By writer: every user is a person."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Writer(Partition):
    """Every writer of the source is a user, with all of his or her images.

    Args:
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.
    """

    name: ClassVar[str] = "writer"
    user_kind: ClassVar[str] = "writers"

    def names(self, samples: Samples) -> tuple[str, ...]:
        """The source's own ids."""
        return samples.writer_names

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """The writer of every image; nothing is drawn.

        Raises:
            UserError: the source does not know its writers, or some have too few images.
        """
        if samples.writers is None:
            raise UserError(
                "partition: this data set does not know its writers; "
                "choose partition=style, dirichlet or iid"
            )
        counts = np.bincount(samples.writers, minlength=len(samples.writer_names))
        least = self.least(samples)
        short = int((counts < least).sum())
        if short:
            smallest = int(counts.argmin())
            raise UserError(
                f"partition: {short} of {len(counts)} writers have fewer than {least} images "
                f"(writer {samples.writer_names[smallest]} has {counts[smallest]}); "
                + (
                    f"choose min_images=1 to {counts[smallest]}"
                    if counts[smallest] >= min(2, least)
                    else "one is needed to train on and one to hold out"
                )
            )
        return samples.writers
