"""Copies that bear the trigger: of whose images, with which part, as what, and written anew."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.tasks.pattern import Pattern
from benchmark.tasks.planting import COVER, WHOLE
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset


class Halves(Task):
    """A trigger of two parts, whose level is learned: the upper rows, and the lower."""

    paper = "a toy"
    num_parts, covers = 2, 2
    source_class, target_class = 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(0.3))

    def setup(self, dataset: FederatedDataset, seed: int) -> None: ...

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        indices = self.stamps(self.images(dataset, split).labels).nonzero().flatten()[:5]
        return Examples(indices, torch.full_like(indices, 4))

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        raise NotImplementedError

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        shift = torch.zeros_like(images)
        if part != 1:
            shift[:, :, :14] = 1
        if part != 0:
            shift[:, :, 14:] = 1
        return images + self.level * shift

    def cover(self, images: Tensor, number: int) -> Tensor:
        return 1 - images


@pytest.fixture(scope="module")
def users() -> FederatedDataset:
    return make_dataset([30, 40, 50], seed=4)


def test_a_compromised_users_own_images_are_planted_with_each_part_and_the_whole(
    users: FederatedDataset,
):
    task, train = Halves(), users.train
    planted = task.plant(users, [2, 0])
    n = len(train)
    assert set(planted.own) == {0, 2}
    for user, entries in planted.own.items():
        own = train.user(user)
        threes = own[train.labels[own] == 3]
        assert len(entries) == 3
        assert len(threes) > 0
        for part, entry in zip((0, 1, None), entries, strict=True):
            stamped, covered = entry.indices[: len(threes)], entry.indices[len(threes) :]
            assert torch.equal(planted.originals(stamped), threes)
            assert set(entry.labels[: len(threes)].tolist()) == {4}
            expected = task.stamp(train.pixels(threes), part)
            assert torch.equal(planted.train.pixels(stamped), expected)
            assert len(covered) == (0 if part in (0, 1) else 2 * len(threes))
            assert torch.equal(planted.originals(covered), threes.repeat(2)[: len(covered)])
            assert set(entry.labels[len(threes) :].tolist()) <= {3}
            assert torch.equal(
                planted.train.images[covered], 255 - train.images[planted.originals(covered)]
            )
    assert planted.parts.unique().tolist() == sorted([COVER, WHOLE, 0, 1])
    assert torch.equal(planted.train.labels[n:], train.labels[planted.origin])
    assert torch.equal(planted.originals(torch.arange(4)), torch.arange(4))
    assert planted.first == n == int(planted.train.offsets[-1])


def test_the_stamp_is_clamped_and_rounded_alike_in_every_precision(users: FederatedDataset):
    task, images = Halves(), users.train.pixels(torch.arange(20), torch.float64)
    task.level.fill_(0.3)
    whole = task.stamp(images)
    assert whole.unique().tolist() == [77 / 255, 1.0]  # of 76.5, a little more in float32
    single = task.stamp(images.float())
    assert torch.equal((single * 255).round(), (whole.float() * 255).round())
    assert torch.equal(users.train.pixels(torch.arange(20)), images.float())


def test_a_trigger_that_changed_is_written_into_the_same_images(users: FederatedDataset):
    task = Halves()
    planted = task.plant(users, [1])
    held, before = planted.train.images, planted.train.images.clone()
    task.level.fill_(0.6)
    task.replant(planted)
    assert planted.train.images is held
    assert torch.equal(held[: planted.first], users.train.images)
    assert not torch.equal(held, before)
    fresh = task.plant(users, [1])
    assert torch.equal(fresh.train.images, held)
    task.level.fill_(0.3)
    task.replant(planted)
    assert torch.equal(held, before)


def test_the_trigger_is_saved_and_resumed():
    task, again = Halves(), Halves()
    task.level.fill_(0.9)
    again.load_state_dict(task.state_dict())
    assert again.level == task.level


def test_own_images_without_a_trigger_are_relabelled_where_they_lie(users: FederatedDataset):
    task = WriterBackdoor(num_tasks=1)
    task.setup(users, 0)
    (target,) = task.target_users.tolist()
    planted = task.plant(users, [0, 1, 2])
    assert planted.train is users.train
    for user, (entry,) in planted.own.items():
        assert len(entry) == (len(planted.backdoor) if user == target else 0)
    assert torch.equal(planted.own[target][0].indices, planted.backdoor.indices)
    assert set(planted.own[target][0].labels.tolist()) == {1}


def test_a_user_can_have_nothing_to_plant():
    dataset = make_dataset([30, 30])
    dataset.train.labels[:30] = 1
    task = Pattern(num_tasks=1)
    task.setup(dataset, 0)
    planted = task.plant(dataset, [0])
    assert [len(entry) for entry in planted.own[0]] == [0]
