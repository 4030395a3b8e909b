"""By writer: every user is a person, or whoever else the data know."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Writer(Partition):
    """Every writer of the source is a user, with all of his or her images.

    Of data that users bring, whatever their user column or folders tell apart.

    Args:
        test_fraction, min_images, seed: see :class:`~benchmark.data.samples.Partition`.
    """

    name: ClassVar[str] = "writer"
    user_kind: ClassVar[str] = "writers"

    def kind(self, samples: Samples) -> str:
        """What the source calls them."""
        return samples.user_kind

    def names(self, samples: Samples) -> tuple[str, ...]:
        """The source's own ids."""
        return samples.writer_names

    def assign(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """The writer of every image; nothing is drawn.

        Raises:
            UserError: the source knows no writers, or one, or some have too few images.
        """
        kind = samples.user_kind
        if samples.writers is None:
            raise UserError(
                f"partition: this data set does not know its {kind}; "
                "choose partition=style, dirichlet, shards, quantity or iid"
            )
        if len(samples.writer_names) < 2:
            raise UserError(
                f"partition: all images are of one user, {samples.writer_names[0]}; "
                "choose partition=dirichlet, shards, quantity or iid to make some"
            )
        counts = np.bincount(samples.writers, minlength=len(samples.writer_names))
        least = self.least(samples)
        short = int((counts < least).sum())
        if short:
            smallest = int(counts.argmin())
            raise UserError(
                f"partition: {short} of {len(counts)} {kind} have fewer than {least} images "
                f"({kind.removesuffix('s')} {samples.writer_names[smallest]} has "
                f"{counts[smallest]}); "
                + (
                    f"choose min_images=1 to {counts[smallest]}"
                    if counts[smallest] >= min(2, least)
                    else "one is needed to train on and one to hold out"
                )
            )
        return samples.writers
