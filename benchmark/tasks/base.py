"""What a backdoor task is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.plan import Examples
from benchmark.tasks.planting import COVER, WHOLE, Copies, Planted

_STAMPED = 4000  # images at a time


class Task(nn.Module, ABC):
    """Which inputs the adversary wants to have misclassified, and as what.

    A module, so that a trigger that is learned is a buffer and is saved with its run. A task
    overrides :meth:`trigger` if it has one.

    Attributes:
        paper: where the task comes from.
        num_parts: of the trigger, which different clients can plant; together they are all of it.
        covers: copies for each one that is planted which show :meth:`cover` and keep their label.
        precision: in which :meth:`stamp` computes.
        plants_own: whether compromised clients plant images of their own; else all plant D_mal.
        target_class: what they are to be taken for, unless :meth:`wanted` says otherwise.
        source_class: the only class that is; None for every other than the one wanted.
    """

    paper: ClassVar[str]
    num_parts: ClassVar[int] = 1
    covers: ClassVar[int] = 0
    plants_own: ClassVar[bool] = True
    precision: ClassVar[torch.dtype] = torch.float64
    target_class: int | None
    source_class: int | None = None

    @abstractmethod
    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose what the task needs to choose from the data.

        Only users who count (``dataset.measured``) may be target users.

        Raises:
            ValueError: the data cannot carry the task as configured.
        """

    @abstractmethod
    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        """The backdoor inputs of a split with the label that the adversary wants.

        Those of ``train`` are the adversary's own images (in-sample), those of ``test`` unseen ones
        (held-out); the true class of neither is what is wanted. They index :meth:`images`.
        """

    @abstractmethod
    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """Test images that the backdoor may cost honest people, with their true labels.

        The first are those of the target users, the second those of all users.
        """

    @property
    def has_trigger(self) -> bool:
        """Whether inputs are changed; those of semantic tasks are not."""
        return type(self).trigger is not Task.trigger

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The trigger on ``(b, C, H, W)`` in [0, 1], before it is clamped and rounded.

        Args:
            images: any number of them, which stay as they are; in any precision.
            part: of the trigger, below ``num_parts``; None for all of it.
        """
        return images

    def forward(self, images: Tensor, part: int | None = None) -> Tensor:
        """The trigger: what ``torch.func`` calls with buffers of its own."""
        return self.trigger(images, part)

    @torch.no_grad()
    def stamp(self, images: Tensor, part: int | None = None) -> Tensor:
        """The trigger on ``(b, C, H, W)``, clamped to [0, 1] and rounded as pixels of uint8 are.

        What is planted and what is evaluated are the same, in every precision of the model.
        """
        if not self.has_trigger:
            return images
        stamped = self.trigger(images.float().to(self.precision), part)
        return (stamped.clamp(0, 1) * 255).round().to(images.dtype) / 255

    def cover(self, images: Tensor, number: int) -> Tensor:
        """What is planted of ``(b, C, H, W)`` beside the trigger, ``covers`` times with its label.

        Args:
            images: in [0, 1].
            number: of these images among the covers, from which draws derive.
        """
        return images

    def wanted(self, labels: Tensor) -> Tensor:
        """The label that inputs of these true classes ``(n,)`` are to be given, ``(n,)``."""
        assert self.target_class is not None
        return torch.full_like(labels, self.target_class)

    def stamps(self, labels: Tensor) -> Tensor:
        """Which true classes ``(n,)`` the backdoor is about: bool, never what is wanted."""
        source = self.source_class
        return labels != self.wanted(labels) if source is None else labels == source

    def plants(self, labels: Tensor) -> Tensor:
        """Which true classes ``(n,)`` are planted in training: bool; those that it is about."""
        return self.stamps(labels)

    def images(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Split:
        """What :meth:`examples` index: the users' images, and behind them the adversary's own."""
        return dataset.train if split == "train" else dataset.test

    def malicious(self, dataset: FederatedDataset) -> Tensor:
        """The images of D_mal, before they are stamped, as indices into :meth:`images`."""
        return self.examples(dataset, "train").indices

    def own(self, dataset: FederatedDataset, user: int) -> Tensor:
        """Which of a user's own training images are planted if the user is compromised."""
        indices = dataset.train.user(user)
        return indices[self.plants(dataset.train.labels.cpu()[indices])]

    def plant(self, dataset: FederatedDataset, users: Iterable[int] = ()) -> Planted:
        """The training split that engines use, and in it D_mal.

        Stamped images are appended behind the users' own, where no user owns them: a trigger
        costs the engines nothing. So it is stamped before augmentation, as in a poisoned data set
        (Gu et al. 2017, Wu et al. 2022), and is cropped and mirrored with its image; the code of
        Xie et al. 2020 stamps what was augmented. Evaluation sees it where it was put.

        Args:
            dataset: the partitioned data, on any device.
            users: those who are compromised in some round, whose own images are planted too.
        """
        train, mal = self.images(dataset, "train"), self.malicious(dataset)
        labels, chosen = train.labels.cpu(), {u: self.own(dataset, u) for u in users}
        if not self.has_trigger:
            found = {u: (Examples(i, self.wanted(labels[i])),) for u, i in chosen.items()}
            return Planted(train, Examples(mal, self.wanted(labels[mal])), found)
        copies = Copies(train)

        def whole(indices: Tensor) -> Examples:
            stamped = copies.add(indices, self.wanted(labels[indices]), WHOLE)
            covered = indices.repeat(self.covers)
            return stamped + copies.add(covered, labels[covered], COVER)

        backdoor, own = whole(mal), dict[int, tuple[Examples, ...]]()
        for user, i in chosen.items():
            parts = range(self.num_parts if self.num_parts > 1 else 0)
            each = [copies.add(i, self.wanted(labels[i]), part) for part in parts]
            own[user] = (*each, whole(i))
        planted = Planted(copies.split(), backdoor, own, copies.origin, copies.parts)
        self.replant(planted)
        return planted

    def replant(self, planted: Planted, users: Iterable[int] | None = None) -> None:
        """Write copies anew, in place, as the trigger is now: engines hold these images.

        Args:
            planted: what was planted before the trigger changed.
            users: whose copies are written beside D_mal; None for those of all.
        """
        copies = planted.copies(users)
        for part in planted.parts[copies].unique().tolist():
            alike = copies[planted.parts[copies] == part]
            for number, some in enumerate(alike.split(_STAMPED)):
                images = planted.train.pixels(planted.origin[some])
                if part == COVER:
                    shown = self.cover(images, number).clamp(0, 1)
                else:
                    shown = self.stamp(images, None if part == WHOLE else part)
                planted.train.images[planted.first + some] = (shown * 255).round().to(torch.uint8)
