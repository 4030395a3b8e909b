"""What is measured of a global model: main accuracy, backdoor accuracy, what honest people lose."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.base import Predict
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task


class Evaluator:
    """Evaluates a global model on a data set and a backdoor task.

    Metrics, each a share in [0, 1]:

    - ``main_accuracy``: test images of all users read as what they show.
    - ``backdoor_in_sample``: D_mal, the adversary's own training images, given the target
      label; the paper's number.
    - ``backdoor_held_out``: unseen images, those of the target users where the task is about
      what they write, given the target label. Absent where they have none.
    - ``backdoor_without_trigger``: of a task with a trigger, the held-out images given that label
      without it, as often as main accuracy is measured: a bias towards a label is no backdoor.
    - ``source_accuracy_targets``, ``source_accuracy_all``: source-class test images of the
      target users and of all users read as what they show: what the backdoor costs honest
      people.

    Where a half of the users is measured (``dataset.measured``), "all users" are that half.

    Args:
        dataset: what it is measured on.
        task: the backdoor.
        dtype: of the images that a model is given; the model's own.
        batch: images at a time.
    """

    def __init__(
        self,
        dataset: FederatedDataset,
        task: Task,
        dtype: torch.dtype = torch.float32,
        batch: int = 4000,
    ):
        self.dataset, self.task, self.dtype, self.batch = dataset, task, dtype, batch
        test = dataset.test
        counted = torch.arange(len(test))
        counted = counted[dataset.counts(test, counted)]
        everything = Examples(counted, test.labels.cpu()[counted])
        source_of_targets, source_of_all = task.source_examples(dataset)
        splits: tuple[Literal["train", "test"], ...] = "train", "test"
        self.in_sample, self.held_out = (task.examples(dataset, split) for split in splits)
        seen = [task.images(dataset, split) for split in splits]
        self._backdoor = {
            "backdoor_in_sample": (seen[0], self.in_sample),
            "backdoor_held_out": (seen[1], self.held_out),
        }
        self._main = {
            "main_accuracy": everything,
            "source_accuracy_targets": source_of_targets,
            "source_accuracy_all": source_of_all,
        }
        if task.has_trigger:
            self._main["backdoor_without_trigger"] = self.held_out

    def main(self, predict: Predict, of_task: bool = True) -> dict[str, float]:
        """What is measured of unchanged images, from one pass over the test set.

        Without what is ``of_task``, main accuracy alone.
        """
        test, counted = self.dataset.test, self._main["main_accuracy"].indices
        read = torch.full((len(test),), -1)
        read[counted] = self._read(predict, test, counted, lambda images: images)
        return {
            name: _share(read[examples.indices], examples)
            for name, examples in self._main.items()
            if len(examples) and (of_task or name == "main_accuracy")
        }

    def backdoor(self, predict: Predict) -> dict[str, float]:
        """Backdoor accuracy, in-sample and held-out."""
        return {
            name: _share(self._read(predict, split, examples.indices, self.task.stamp), examples)
            for name, (split, examples) in self._backdoor.items()
            if len(examples)
        }

    @torch.no_grad()
    def _read(
        self, predict: Predict, split: Split, indices: Tensor, seen: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The class that each image is given, seen in some way: ``(n,)``, on the CPU."""
        logits = [
            predict(seen(split.pixels(some, self.dtype))).argmax(dim=1).cpu()
            for some in indices.split(self.batch)
        ]
        return torch.cat(logits)


def _share(read: Tensor, examples: Examples) -> float:
    return (read == examples.labels).double().mean().item()
