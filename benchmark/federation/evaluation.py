"""What is measured of a global model: main accuracy, backdoor accuracy, what honest people lose."""

from collections.abc import Callable

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
    - ``backdoor_held_out``: the target users' unseen source-class images given the target
      label. Absent where they have none.
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
        self._main = {
            "main_accuracy": everything,
            "source_accuracy_targets": source_of_targets,
            "source_accuracy_all": source_of_all,
        }
        self.in_sample = task.examples(dataset, "train")
        self.held_out = task.examples(dataset, "test")

    def main(self, predict: Predict) -> dict[str, float]:
        """Main accuracy and the source-class accuracies, from one pass over the test set."""
        test = self.dataset.test
        everything = self._main["main_accuracy"]
        correct = torch.zeros(len(test), dtype=torch.bool)
        correct[everything.indices] = self._hits(predict, test, everything, lambda images: images)
        return {
            name: correct[examples.indices].double().mean().item()
            for name, examples in self._main.items()
            if len(examples)
        }

    def backdoor(self, predict: Predict) -> dict[str, float]:
        """Backdoor accuracy, in-sample and held-out."""
        splits = {
            "backdoor_in_sample": (self.dataset.train, self.in_sample),
            "backdoor_held_out": (self.dataset.test, self.held_out),
        }
        return {
            name: self._hits(predict, split, examples, self.task.transform).double().mean().item()
            for name, (split, examples) in splits.items()
            if len(examples)
        }

    @torch.no_grad()
    def _hits(
        self,
        predict: Predict,
        split: Split,
        examples: Examples,
        transform: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Whether each example is given its label: ``(n,)`` bool, on the CPU."""
        hits = []
        for indices, labels in zip(
            examples.indices.split(self.batch),
            examples.labels.split(self.batch),
            strict=True,
        ):
            logits = predict(transform(split.pixels(indices, self.dtype)))
            hits.append(logits.argmax(dim=1).cpu() == labels)
        return torch.cat(hits)
