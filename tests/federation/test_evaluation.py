"""Metrics against counts by hand."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.federation.evaluation import Evaluator
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset
from tests.tasks.test_tasks import Corner

# Pixel (0, 0) is what the model of these tests reads; two users, user 0 is the target.
TRAIN = [(7, 1), (7, 1), (7, 7), (3, 3)], [(1, 1), (5, 5)]  # (label, read as)
TEST = [(7, 1), (7, 7), (1, 1), (4, 4)], [(7, 7), (7, 2), (5, 5), (6, 0)]


def split(users: tuple[list[tuple[int, int]], ...]) -> Split:
    rows = [row for user in users for row in user]
    images = torch.zeros(len(rows), 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor([read for _, read in rows], dtype=torch.uint8)
    sizes = torch.tensor([0, *(len(user) for user in users)])
    return Split(images, torch.tensor([label for label, _ in rows]), sizes.cumsum(0))


def read(images: Tensor) -> Tensor:
    """Logits of a model that takes an image for what its first pixel says."""
    classes = (images[:, 0, 0, 0] * 255).round().long()
    return torch.nn.functional.one_hot(classes, 256)[:, :10].to(images.dtype)


def evaluator(dataset: FederatedDataset, batch: int = 200) -> Evaluator:
    task = WriterBackdoor(num_tasks=1)
    task.setup(dataset, seed=0)
    return Evaluator(dataset, task, batch=batch)


@pytest.fixture
def dataset() -> FederatedDataset:
    return FederatedDataset(split(TRAIN), split(TEST), 10, {})


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_shares_are_those_counted_by_hand(dataset: FederatedDataset, batch: int):
    measured = evaluator(dataset, batch)
    assert measured.main(read) == pytest.approx(
        {
            "main_accuracy": 5 / 8,  # all but 7→1, 7→2, 6→0
            "source_accuracy_targets": 1 / 2,
            "source_accuracy_all": 2 / 4,
        }
    )
    assert measured.backdoor(read) == pytest.approx(
        {"backdoor_in_sample": 2 / 3, "backdoor_held_out": 1 / 2}
    )


def test_a_metric_without_images_is_absent_rather_than_zero(dataset: FederatedDataset):
    without = split(([(1, 1), (4, 4)], [(7, 7), (5, 5)]))
    measured = evaluator(FederatedDataset(dataset.train, without, 10, {}))
    assert set(measured.backdoor(read)) == {"backdoor_in_sample"}
    assert set(measured.main(read)) == {"main_accuracy", "source_accuracy_all"}


def test_the_trigger_is_on_backdoor_inputs_only():
    seen = []

    def record(images: Tensor) -> Tensor:
        seen.append(images[:, 0, 3, 3])
        return read(images)

    rows = [(0, 0), (0, 5), (3, 3)]
    dataset = FederatedDataset(split((rows, rows)), split((rows, rows)), 10, {})
    measured = Evaluator(dataset, Corner())
    measured.main(record)
    assert torch.cat(seen).tolist() == [0.0] * 6
    seen.clear()
    measured.backdoor(record)
    assert torch.cat(seen).tolist() == pytest.approx([Corner.gray / 255] * 8)


def test_the_wanted_label_is_counted_without_the_trigger_too(dataset: FederatedDataset):
    rows = [(0, 5), (0, 0), (0, 5), (3, 5)]
    measured = Evaluator(FederatedDataset(split((rows,)), split((rows,)), 10, {}), Corner())
    assert measured.main(read)["backdoor_without_trigger"] == pytest.approx(2 / 3)
    assert "backdoor_without_trigger" not in evaluator(dataset).main(read)


def test_images_come_in_the_models_precision(dataset: FederatedDataset):
    task = WriterBackdoor(num_tasks=1)
    task.setup(dataset, seed=0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).double()
    measured = Evaluator(dataset, task, torch.float64)
    assert 0 <= measured.main(model)["main_accuracy"] <= 1
    assert 0 <= measured.backdoor(model)["backdoor_in_sample"] <= 1


@pytest.mark.parametrize("half", ["validation", "test"])
def test_a_half_of_the_users_is_measured_on_its_own_test_images(
    half: Literal["validation", "test"],
):
    both = split(([*TRAIN[0]], [*TRAIN[0]]))
    measured = FederatedDataset(both, split(TEST), 10, {}).measuring(half)
    assert measured.measured is not None
    (user,) = measured.measured.tolist()
    counted = evaluator(measured).main(read)
    assert counted["main_accuracy"] == pytest.approx([3 / 4, 2 / 4][user])
    assert counted["source_accuracy_all"] == counted["source_accuracy_targets"] == 1 / 2


def test_halves_are_disjoint_and_need_test_images():
    dataset = make_dataset([12] * 7)
    one, other = (set(dataset.measuring(h).measured.tolist()) for h in ("validation", "test"))
    assert not one & other
    assert one | other == set(range(7))
    assert len(one) == 3
    nothing = split(([], []))
    with pytest.raises(ValueError, match="measured_on=test: its 1 users have no test image"):
        FederatedDataset(nothing, nothing, 10, {}).measuring("test")
