"""The partitioned data in memory: pixels and labels once, users as index ranges."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images of all users, ordered by user.

    Attributes:
        images: ``(n, 28, 28)`` uint8; 255 is paper, 0 is ink (EMNIST's convention in the paper).
        labels: ``(n,)`` int64.
        offsets: ``(users + 1,)`` int64; user ``u`` owns ``offsets[u] .. offsets[u + 1] - 1``.
    """

    images: Tensor
    labels: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.labels)

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

    def pixels(self, indices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images as the model takes them: ``(b, 1, 28, 28)`` in [0, 1], background 1."""
        return self.images[indices].unsqueeze(1).to(dtype) / 255

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
    """

    train: Split
    test: Split
    num_classes: int
    facts: dict[str, str | int]

    @property
    def num_users(self) -> int:
        """Number of users."""
        return self.train.num_users

    def to(self, device: torch.device | str) -> "FederatedDataset":
        """Both splits on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))
