"""The paper's semantic backdoor: some users' sevens are to be read as ones."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.utils.checks import at_least
from benchmark.utils.randomness import generator

_NONE = torch.zeros(0, dtype=torch.int64)


class WriterBackdoor(Task):
    """One task = one target user: that user's ``source_class`` images get ``target_class``.

    Target users are the first ``num_tasks`` of one permutation of the users who wrote the
    source class, so fewer tasks are a subset of more. Honest target users keep their correctly
    labelled images and take part like everybody.

    Args:
        num_tasks: number of target users; the paper has 10, 20, 30 and 50 of 3,383.
        source_class: what the images show; 7 in the paper.
        target_class: what they are to be taken for; 1 in the paper.

    Raises:
        ValueError: ``num_tasks`` below 1 or above the number of users with a training image of
            the source class, a class that the data does not have, or equal classes.
    """

    source_class: int
    target_class: int
    paper = "Sun et al. 2019, arXiv 1911.07963, section 4"
    plants_own = False

    def __init__(self, num_tasks: int = 30, source_class: int = 7, target_class: int = 1):
        super().__init__()
        if source_class == target_class:
            raise ValueError(f"source_class and target_class are both {source_class}")
        self.num_tasks = at_least("num_tasks", 1, num_tasks)
        self.source_class = source_class
        self.target_class = target_class

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the target users."""
        for name in ("source_class", "target_class"):
            if not 0 <= getattr(self, name) < dataset.num_classes:
                raise ValueError(
                    f"{name} must be 0 to {dataset.num_classes - 1}, got {getattr(self, name)}"
                )
        indices = self._source_indices(dataset.train)
        users = dataset.train.users_of(indices[dataset.counts(dataset.train, indices)]).unique()
        if self.num_tasks > len(users):
            half = "" if dataset.measured is None else " in the half that is measured"
            raise ValueError(
                f"num_tasks must be 1 to {len(users)}, the number of users with a training "
                f"image of class {self.source_class}{half}; got {self.num_tasks}"
            )
        order = torch.randperm(len(users), generator=generator(seed, 0, "target users"))
        self.target_users = users[order[: self.num_tasks]]

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        """The target users' source-class images, labelled with the target class."""
        indices = self._target_indices(dataset.train if split == "train" else dataset.test)
        return Examples(indices, torch.full_like(indices, self.target_class))

    def own(self, dataset: FederatedDataset, user: int) -> Tensor:
        """Those of the target users alone."""
        return super().own(dataset, user) if user in self.target_users else _NONE

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """The target users' and everybody's source-class test images, labelled correctly."""
        targets = self._target_indices(dataset.test)
        everybody = self._source_indices(dataset.test)
        everybody = everybody[dataset.counts(dataset.test, everybody)]
        return (
            Examples(targets, torch.full_like(targets, self.source_class)),
            Examples(everybody, torch.full_like(everybody, self.source_class)),
        )

    def _source_indices(self, split: Split) -> Tensor:
        return (split.labels.cpu() == self.source_class).nonzero().squeeze(1)

    def _target_indices(self, split: Split) -> Tensor:
        indices = self._source_indices(split)
        return indices[torch.isin(split.users_of(indices), self.target_users)]
