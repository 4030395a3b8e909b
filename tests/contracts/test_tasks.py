"""Every task in conf/task/."""

from typing import Literal

import pytest
import torch

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.base import Task
from benchmark.testing import PluginContract
from benchmark.testing.toys import make_dataset


@pytest.fixture(scope="module")
def users() -> FederatedDataset:
    """Many users, so that the yaml's own numbers fit."""
    return make_dataset([40] * 80, seed=1)


class TestTask(PluginContract):
    group = "task"

    def set_up(self, name: str, dataset: FederatedDataset) -> Task:
        task = self.build(name)
        task.setup(dataset, 0)
        return task

    def test_its_examples_lie_in_the_split_and_are_not_of_the_target_class_already(
        self, name: str, users: FederatedDataset
    ):
        task = self.set_up(name, users)
        for which, split in (("train", users.train), ("test", users.test)):
            examples = task.examples(users, which)
            assert 0 < len(examples) < len(split)
            assert len(examples.indices) == len(examples.labels)
            assert examples.indices.dtype == examples.labels.dtype == torch.int64
            assert len(examples.indices.unique()) == len(examples)
            assert ((examples.indices >= 0) & (examples.indices < len(split))).all()
            assert ((examples.labels >= 0) & (examples.labels < users.num_classes)).all()
            assert (examples.labels != split.labels[examples.indices]).all()

    def test_source_examples_carry_their_true_labels(self, name: str, users: FederatedDataset):
        targets, everybody = self.set_up(name, users).source_examples(users)
        for examples in (targets, everybody):
            assert len(examples) > 0
            assert torch.equal(examples.labels, users.test.labels[examples.indices])
        assert set(targets.indices.tolist()) <= set(everybody.indices.tolist())

    def test_it_depends_on_the_seed_alone(self, name: str, users: FederatedDataset):
        torch.manual_seed(1)
        first = self.set_up(name, users).examples(users, "train")
        torch.manual_seed(2)
        again = self.set_up(name, users).examples(users, "train")
        assert torch.equal(first.indices, again.indices)
        assert torch.equal(first.labels, again.labels)

    def test_its_trigger_keeps_shape_and_range_and_its_input(
        self, name: str, users: FederatedDataset
    ):
        task, images = self.set_up(name, users), users.train.pixels(torch.arange(5))
        before = images.clone()
        stamped = task.stamp(images)
        assert stamped.shape == images.shape
        assert ((stamped >= 0) & (stamped <= 1)).all()
        assert torch.equal((stamped * 255).round() / 255, stamped)
        assert torch.equal(images, before)

    def test_planting_leaves_users_their_own_data(self, name: str, users: FederatedDataset):
        task, n = self.set_up(name, users), len(users.train)
        found = task.plant(users)
        planted, backdoor = found.train, found.backdoor
        assert torch.equal(planted.images[:n], users.train.images)
        assert torch.equal(planted.labels[:n], users.train.labels)
        assert torch.equal(planted.offsets, users.train.offsets)
        mine = task.examples(users, "train")
        assert torch.equal(backdoor.labels[: len(mine)], mine.labels)
        assert len(backdoor) == (1 + task.covers) * len(mine)

    def test_what_is_planted_is_what_is_evaluated(self, name: str, users: FederatedDataset):
        task, n = self.set_up(name, users), len(users.train)
        found, seen = task.plant(users, [0, 3]), task.images(users, "train")
        for dtype in (torch.float32, torch.float64):
            mine = task.examples(users, "train").indices
            stamped = found.train.pixels(found.backdoor.indices[: len(mine)], dtype)
            assert torch.equal(stamped, task.stamp(seen.pixels(mine, dtype)))
        for user in (0, 3):
            assert len(found.own[user]) == (1 if task.num_parts == 1 else task.num_parts + 1)
            for entry in found.own[user]:
                assert set(users.train.users_of(found.originals(entry.indices)).tolist()) <= {user}
                wanted = task.wanted(users.train.labels[found.originals(entry.indices)])
                assert ((entry.labels == wanted) | (task.covers > 0)).all()
        before = found.train.images.clone()
        task.replant(found)
        assert torch.equal(found.train.images, before)
        assert task.has_trigger == (len(found.train) > n)

    def test_the_target_class_is_never_wanted_of_itself(self, name: str, users: FederatedDataset):
        task, labels = self.set_up(name, users), torch.arange(users.num_classes)
        assert task.stamps(labels).any()
        assert not (task.stamps(labels) & (task.wanted(labels) == labels)).any()
        for which, split in (("train", users.train), ("test", users.test)):
            examples = task.examples(users, which)
            true = split.labels[examples.indices]
            assert task.stamps(true).all()
            assert torch.equal(examples.labels, task.wanted(true))

    @pytest.mark.parametrize("half", ["validation", "test"])
    def test_only_users_of_the_measured_half_count(
        self, name: str, users: FederatedDataset, half: Literal["validation", "test"]
    ):
        measured = users.measuring(half)
        assert measured.measured is not None
        task = self.set_up(name, measured)
        sources = task.source_examples(measured)
        splits = [(users.train, task.examples(measured, "train").indices)]
        splits += [(users.test, task.examples(measured, "test").indices)]
        splits += [(users.test, examples.indices) for examples in sources]
        for split, indices in splits:
            assert len(indices) > 0
            assert set(split.users_of(indices).tolist()) <= set(measured.measured.tolist())
