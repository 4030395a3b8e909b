"""The partitioned data in memory: pixels and labels once, users as index ranges."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.data.augmentation import viewed
from benchmark.utils.randomness import generator


@dataclass(frozen=True)
class Split:
    """Inputs of all users, ordered by user.

    Attributes:
        images: ``(n, C, H, W)`` uint8; of handwriting 255 is paper, 0 is ink (EMNIST's convention
            in the paper).
        labels: ``(n,)`` int64.
        offsets: ``(users + 1,)`` int64; user ``u`` owns ``offsets[u] .. offsets[u + 1] - 1``.
    """

    images: Tensor
    labels: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an example: ``(C, H, W)``."""
        return tuple(self.images.shape[1:])

    @property
    def num_users(self) -> int:
        """Number of users, those without an image in this split included."""
        return len(self.offsets) - 1

    def user(self, user: int) -> Tensor:
        """Indices of one user's images, ``(n_k,)`` int64."""
        return torch.arange(int(self.offsets[user]), int(self.offsets[user + 1]))

    def users_of(self, indices: Tensor) -> Tensor:
        """The user that owns each of ``indices``."""
        return torch.searchsorted(self.offsets, indices, right=True) - 1

    def pixels(
        self, indices: Tensor, dtype: torch.dtype = torch.float32, views: Tensor | None = None
    ) -> Tensor:
        """Images as the model takes them, ``(b, C, H, W)`` in [0, 1].

        Args:
            indices: ``(b,)``.
            dtype: of the pixels.
            views: ``(b, 3)``, see :func:`benchmark.data.augmentation.viewed`; None sees all.
        """
        images = self.images[indices]
        return (images if views is None else viewed(images, views)).to(dtype) / 255

    def to(self, device: torch.device | str) -> "Split":
        """Move pixels and labels; the offsets stay where plans are made, on the CPU."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class FederatedDataset:
    """Training and test images of the same users.

    Attributes:
        train, test: the two splits; user ``u`` is the same person in both.
        num_classes: number of classes that labels may take.
        facts: what the manifest says (``name``, ``hash``, ``users``, ``user_kind``,
            ``train_images``, ``test_images``, ``license``).
        measured: the users whose test images count and who may be target users, sorted; None for
            all.
        root: ``(n,)`` indices into ``train`` of the server's own images, behind all users'; None
            where it has none.
    """

    train: Split
    test: Split
    num_classes: int
    facts: dict[str, str | int]
    measured: Tensor | None = None
    root: Tensor | None = None

    @property
    def num_users(self) -> int:
        """Number of users."""
        return self.train.num_users

    def to(self, device: torch.device | str) -> "FederatedDataset":
        """Both splits on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))

    def told(self, **facts: str | int) -> "FederatedDataset":
        """With further facts, which records keep."""
        return replace(self, facts=self.facts | facts)

    def measuring(self, half: Literal["validation", "test"]) -> "FederatedDataset":
        """The same users and images, of which one half's users count.

        The halves are the same in every run: no seed of a run enters.

        Raises:
            ValueError: the half's users have no test image.
        """
        source = generator(0, 0, "validation users")
        order = torch.randperm(self.num_users, generator=source)
        validation, test = order.tensor_split([self.num_users // 2])
        users = (validation if half == "validation" else test).sort().values
        measured = replace(self, measured=users)
        if not measured.counts(self.test, torch.arange(len(self.test))).any():
            raise ValueError(f"measured_on={half}: its {len(users)} users have no test image")
        return measured

    def counts(self, split: Split, indices: Tensor) -> Tensor:
        """Whether each of ``indices`` into a split is of a user who counts: bool."""
        if self.measured is None:
            return torch.ones(len(indices), dtype=torch.bool)
        return torch.isin(split.users_of(indices), self.measured)
