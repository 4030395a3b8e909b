"""What a backdoor task is."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.plan import Examples


class Task(ABC):
    """Which inputs the adversary wants to have misclassified, and as what.

    Attributes:
        paper: where the task comes from.
    """

    paper: ClassVar[str]

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

        Those of ``train`` are the adversary's own images D_mal (in-sample), those of ``test``
        the same users' unseen ones (held-out).
        """

    @abstractmethod
    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """Test images that the backdoor may cost honest people, with their true labels.

        The first are those of the target users, the second those of all users.
        """

    def transform(self, images: Tensor) -> Tensor:
        """The trigger, ``(b, C, H, W)`` → the same shape; semantic tasks have none."""
        return images

    def plant(self, dataset: FederatedDataset) -> tuple[Split, Examples]:
        """The training split that engines use, and D_mal as indices into it.

        Transformed images are appended behind the users' own, where no user owns them: a
        trigger costs the engines nothing. So it is stamped before augmentation, as in a poisoned
        data set (Gu et al. 2017, Wu et al. 2022), and is cropped and mirrored with its image; the
        code of Xie et al. 2020 stamps what was augmented. Evaluation sees it where it was put.
        """
        train, examples = dataset.train, self.examples(dataset, "train")
        if type(self).transform is Task.transform:
            return train, examples
        stamped = self.transform(train.pixels(examples.indices))
        images = torch.cat([train.images, (stamped * 255).round().to(torch.uint8)])
        labels = torch.cat([train.labels, train.labels[examples.indices]])
        indices = torch.arange(len(train), len(train) + len(examples))
        return replace(train, images=images, labels=labels), Examples(indices, examples.labels)
