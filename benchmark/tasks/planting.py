"""What a task puts into the training images: copies that no user owns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.plan import Examples

WHOLE, COVER = -1, -2
"""Of a copy: it bears all of the trigger; or it is there to be told from those that do."""


def _none() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class Planted:
    """The training split with what is planted, and D_mal.

    Attributes:
        train: the users' images, and behind them, where no user owns them, a copies.
        backdoor: D_mal, as indices into ``train``. It bears the whole trigger.
        own: of some users, what a compromised one plants of its own images: an entry for each
            part of the trigger and a last one with all of it; the last alone where the trigger
            has no parts. Where there is no trigger it is the user's own images that the task is
            about, relabelled. It can be empty.
        origin: ``(a,)``, the image of ``train`` that each copy is of.
        parts: ``(a,)``, the part of the trigger that each bears; ``WHOLE``, or ``COVER``.
    """

    train: Split
    backdoor: Examples
    own: Mapping[int, tuple[Examples, ...]]
    origin: Tensor = field(default_factory=_none)
    parts: Tensor = field(default_factory=_none)

    @property
    def first(self) -> int:
        """Index of the first copy."""
        return len(self.train) - len(self.origin)

    def originals(self, indices: Tensor) -> Tensor:
        """Which image each of ``indices`` ``(n,)`` is of: itself, if it is no copy."""
        own = torch.arange(self.first)
        return torch.cat([own, self.origin])[indices]

    def copies(self, users: Iterable[int] | None = None) -> Tensor:
        """Those of D_mal and of some users, or all of them, ``(n,)``; the first copy is 0."""
        if users is None or not len(self.origin):
            return torch.arange(len(self.origin))
        of_users = [entry.indices for user in users for entry in self.own[user]]
        return torch.cat([self.backdoor.indices, *of_users]) - self.first


class Copies:
    """Grows the list of copies, in the order in which they will lie behind the users' images.

    Args:
        train: what they are copies of.
    """

    def __init__(self, train: Split):
        self.train, self.origin, self.parts = train, _none(), _none()

    def add(self, origin: Tensor, labels: Tensor, part: int) -> Examples:
        """One copy of each of ``origin`` ``(n,)``, to be trained on with ``labels`` ``(n,)``."""
        first = len(self.train) + len(self.origin)
        self.origin = torch.cat([self.origin, origin])
        self.parts = torch.cat([self.parts, torch.full_like(origin, part)])
        return Examples(torch.arange(first, first + len(origin)), labels)

    def split(self) -> Split:
        """The training split with room for them, which bear their true labels."""
        images, labels = self.train.images, self.train.labels
        room = images.new_zeros((len(self.origin), *images.shape[1:]))
        return replace(
            self.train,
            images=torch.cat([images, room]),
            labels=torch.cat([labels, labels[self.origin]]),
        )
