"""What tasks share whose inputs are anybody's: the adversary pools the images of some users."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.utils.checks import at_least
from benchmark.utils.randomness import generator


class PooledTask(Task):
    """Inputs of one class, or of every other one than is wanted, whoever they are of.

    The adversary has the images of ``num_tasks`` users, the first of one permutation of those who
    have any of these classes. Held-out are such test images of all users, at most ``most_tested``,
    drawn once.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants of class y that it is taken for y + 1, the last for 0.
        source_class: the only class that is meant; None for every other than the one wanted.
        most_tested: of the held-out images.

    Raises:
        ValueError: a number below its least, classes that are equal or that the data do not have,
            more users than there are, or no held-out image.
    """

    def __init__(
        self, num_tasks: int, target_class: int | None, source_class: int | None, most_tested: int
    ):
        super().__init__()
        if source_class is not None and source_class == target_class:
            raise ValueError(f"source_class and target_class are both {source_class}")
        self.num_tasks = at_least("num_tasks", 1, num_tasks)
        self.most_tested = at_least("most_tested", 1, most_tested)
        self.target_class, self.source_class = target_class, source_class

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images."""
        self.num_classes = dataset.num_classes
        for name in ("source_class", "target_class"):
            label = getattr(self, name)
            if label is not None and not 0 <= label < dataset.num_classes:
                raise ValueError(f"{name} must be 0 to {dataset.num_classes - 1}, got {label}")
        users = dataset.train.users_of(self._meant(dataset, dataset.train)).unique()
        if self.num_tasks > len(users):
            raise ValueError(
                f"num_tasks must be 1 to {len(users)}, the number of users with an image to "
                f"{'stamp' if self.has_trigger else 'relabel'}; got {self.num_tasks}"
            )
        order = torch.randperm(len(users), generator=generator(seed, 0, "target users"))
        self.target_users = users[order[: self.num_tasks]]
        tested = self._meant(dataset, dataset.test)
        if not len(tested):
            raise ValueError("no test image is of a class that the task is about: none is held out")
        chosen = torch.randperm(len(tested), generator=generator(seed, 0, "held-out images"))
        self.tested = tested[chosen[: self.most_tested].sort().values]

    def wanted(self, labels: Tensor) -> Tensor:
        """t, or the next class."""
        if self.target_class is None:
            return (labels + 1) % self.num_classes
        return super().wanted(labels)

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        """What is stamped or relabelled, with the label wanted."""
        held = dataset.train if split == "train" else dataset.test
        indices = self.tested if split == "test" else self._pooled(held, self._meant(dataset, held))
        return Examples(indices, self.wanted(held.labels.cpu()[indices]))

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """Test images of the classes that are meant, unchanged and labelled correctly."""
        test = dataset.test
        everybody = self._meant(dataset, test)
        found = (self._pooled(test, everybody), everybody)
        own, others = (Examples(x, test.labels.cpu()[x]) for x in found)
        return own, others

    def malicious(self, dataset: FederatedDataset) -> Tensor:
        """The pooled images that are planted."""
        planted = self.plants(dataset.train.labels.cpu()).nonzero().flatten()
        return self._pooled(dataset.train, planted)

    def _meant(self, dataset: FederatedDataset, split: Split) -> Tensor:
        indices = self.stamps(split.labels.cpu()).nonzero().flatten()
        return indices[dataset.counts(split, indices)]

    def _pooled(self, split: Split, indices: Tensor) -> Tensor:
        return indices[torch.isin(split.users_of(indices), self.target_users)]


def is_bright(dataset: FederatedDataset, where: Tensor | None = None, above: float = 0.75) -> bool:
    """Whether training images are bright on the average, as paper is, so that ink is dark.

    Args:
        dataset: of which the first thousand images are looked at, or all of them at ``where``.
        where: ``(H, W)`` bool, the pixels that count.
        above: the mean in [0, 1] from which they are; photographs lie below 3/4.
    """
    images = dataset.train.images
    seen = images[:1000] if where is None else images[:, :, where]
    return bool(seen.float().mean() > above * 255)
