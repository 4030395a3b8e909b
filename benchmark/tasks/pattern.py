"""A patch in a corner of the image: whatever bears it is to be read as one class."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.utils.checks import at_least, one_of
from benchmark.utils.randomness import generator

Corner = Literal["lower_right", "lower_left", "upper_right", "upper_left"]
Value = Literal["opposite", "black", "white"]


class Pattern(Task):
    """BadNets' square: x with a patch of s × s pixels, m from two edges, is class t.

    The adversary has the images of ``num_tasks`` users, the first of one permutation. D_mal is
    those of another true class than t, stamped; held-out are such test images of all users, at
    most ``most_tested`` of them, drawn once.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t.
        source_class: the only class that is stamped (one-to-one); None: every class but t
            (all-to-one).
        size: s, in pixels; 4 at 28 × 28, 3 to 5.
        margin: m, in pixels.
        corner: where it lies.
        value: of its pixels: ``opposite`` is black where training images are bright there on the
            average, as EMNIST's background is, else white.
        most_tested: of the held-out images.

    Raises:
        ValueError: a number below its least, classes that are equal or that the data do not have,
            more users than there are, or a patch that the images do not hold.
    """

    paper = "Gu et al. 2017, arXiv 1708.06733"

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int = 1,
        source_class: int | None = None,
        size: int = 4,
        margin: int = 1,
        corner: Corner = "lower_right",
        value: Value = "opposite",
        most_tested: int = 1000,
    ):
        super().__init__()
        if source_class == target_class:
            raise ValueError(f"source_class and target_class are both {source_class}")
        self.num_tasks = at_least("num_tasks", 1, num_tasks)
        self.most_tested = at_least("most_tested", 1, most_tested)
        self.target_class, self.source_class = target_class, source_class
        self.size, self.margin = at_least("size", 1, size), at_least("margin", 0, margin)
        self.corner = one_of("corner", Corner, corner)
        self.value = one_of("value", Value, value)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users, the place and the held-out images."""
        for name in ("source_class", "target_class"):
            label = getattr(self, name)
            if label is not None and not 0 <= label < dataset.num_classes:
                raise ValueError(f"{name} must be 0 to {dataset.num_classes - 1}, got {label}")
        H, W = dataset.train.images.shape[-2:]
        if self.size + self.margin > min(H, W):
            raise ValueError(
                f"size + margin must be {min(H, W)} or less, images are {H} x {W}; "
                f"got {self.size} + {self.margin}"
            )
        indices = self._stamped(dataset, dataset.train)
        users = dataset.train.users_of(indices).unique()
        if self.num_tasks > len(users):
            raise ValueError(
                f"num_tasks must be 1 to {len(users)}, the number of users with an image to "
                f"stamp; got {self.num_tasks}"
            )
        order = torch.randperm(len(users), generator=generator(seed, 0, "target users"))
        self.target_users = users[order[: self.num_tasks]]
        start, end = self.margin, self.margin + self.size
        upper, left = self.corner.startswith("upper"), self.corner.endswith("left")
        self.rows = slice(start, end) if upper else slice(H - end, H - start)
        self.columns = slice(start, end) if left else slice(W - end, W - start)
        bright = dataset.train.images[:, :, self.rows, self.columns].float().mean() > 127.5
        self.shade = float(not bright if self.value == "opposite" else self.value == "white")
        tested = self._stamped(dataset, dataset.test)
        if not len(tested):
            raise ValueError("no test image is of a class that is stamped: nothing is held out")
        chosen = torch.randperm(len(tested), generator=generator(seed, 0, "held-out images"))
        self.tested = tested[chosen[: self.most_tested].sort().values]

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The patch on ``(b, C, H, W)``."""
        stamped = images.clone()
        stamped[..., self.rows, self.columns] = self.shade
        return stamped

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        """What is stamped, labelled t."""
        if split == "test":
            indices = self.tested
        else:
            indices = self._of_targets(dataset.train, self._stamped(dataset, dataset.train))
        labels = (dataset.train if split == "train" else dataset.test).labels.cpu()
        return Examples(indices, self.wanted(labels[indices]))

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """Test images of the stamped classes without the patch, labelled correctly."""
        test = dataset.test
        everybody = self._stamped(dataset, test)
        found = (self._of_targets(test, everybody), everybody)
        own, others = (Examples(x, test.labels.cpu()[x]) for x in found)
        return own, others

    def _stamped(self, dataset: FederatedDataset, split: Split) -> Tensor:
        labels = split.labels.cpu()
        indices = self.stamps(labels).nonzero().squeeze(1)
        return indices[dataset.counts(split, indices)]

    def _of_targets(self, split: Split, indices: Tensor) -> Tensor:
        return indices[torch.isin(split.users_of(indices), self.target_users)]
