"""What every task keeps to."""

from functools import lru_cache
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.base import Task
from benchmark.testing.plugin import PluginContract
from benchmark.testing.toys import federation, fit, make_dataset, untouched

SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


@lru_cache
def data() -> FederatedDataset:
    """Many users, so that the yaml's own numbers fit."""
    return make_dataset([40] * 80, seed=1)


def shown(shape: tuple[int, ...], level: float) -> Tensor:
    """Images of one gray, and some of noise."""
    source = torch.Generator().manual_seed(3)
    noise = torch.randint(256, (3, *shape), generator=source) / 255
    return torch.cat([torch.full((2, *shape), level), noise])


class TaskContract(PluginContract):
    """For every task of :attr:`conf`."""

    group = "task"

    @pytest.fixture
    def users(self) -> FederatedDataset:
        return data()

    def set_up(self, name: str, dataset: FederatedDataset) -> Any:
        task = self.build(name)
        task.setup(dataset, 0)
        return task

    def test_it_is_a_task_with_stated_facts(self, plugin: Task) -> None:
        assert isinstance(plugin, Task)
        assert plugin.num_parts >= 1
        assert plugin.covers >= 0

    def test_its_examples_lie_in_the_split_and_are_not_of_the_wanted_class_already(
        self, name: str, users: FederatedDataset
    ) -> None:
        task = self.set_up(name, users)
        for which in SPLITS:
            split, examples = task.images(users, which), task.examples(users, which)
            assert 0 < len(examples) < len(split)
            assert examples.indices.dtype == examples.labels.dtype == torch.int64
            assert len(examples.indices.unique()) == len(examples)
            assert ((examples.indices >= 0) & (examples.indices < len(split))).all()
            true = split.labels[examples.indices]
            assert task.stamps(true).all()
            assert torch.equal(examples.labels, task.wanted(true))

    def test_what_is_wanted_is_never_what_is_there(
        self, name: str, users: FederatedDataset
    ) -> None:
        task, labels = self.set_up(name, users), torch.arange(users.num_classes)
        wanted = task.wanted(labels)
        assert ((wanted >= 0) & (wanted < users.num_classes)).all()
        assert task.stamps(labels).any()
        assert not (task.stamps(labels) & (wanted == labels)).any()

    def test_source_examples_carry_their_true_labels(
        self, name: str, users: FederatedDataset
    ) -> None:
        targets, everybody = self.set_up(name, users).source_examples(users)
        for examples in (targets, everybody):
            assert len(examples) > 0
            assert torch.equal(examples.labels, users.test.labels[examples.indices])
        assert set(targets.indices.tolist()) <= set(everybody.indices.tolist())

    def test_it_depends_on_the_seed_alone(self, name: str, users: FederatedDataset) -> None:
        found = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            task = self.set_up(name, users)
            examples = task.examples(users, "train")
            seen = task.stamp(shown((1, 28, 28), 0.2))
            found.append((examples.indices, examples.labels, seen, task.plant(users).train.images))
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))

    @pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_its_stamp_is_made_of_pixels_and_leaves_its_input(
        self, name: str, shape: tuple[int, ...], level: float
    ) -> None:
        dataset = make_dataset([10] * 60, seed=1, image=shape)
        dataset.train.images.fill_(round(255 * level))
        task, images = self.set_up(name, dataset), shown(shape, level)
        for part in (None, *range(task.num_parts)):
            with untouched(images):
                stamped = task.stamp(images, part)
            assert stamped.shape == images.shape
            assert stamped.dtype == images.dtype
            assert ((stamped >= 0) & (stamped <= 1)).all()
            assert torch.equal((stamped * 255).round() / 255, stamped)
            assert torch.equal(task.stamp(images[3:], part), stamped[3:])
        assert task.has_trigger != torch.equal(task.stamp(images), images)
        assert len(task.stamp(images[:0])) == 0

    def test_its_parts_change_apart_what_the_whole_changes(
        self, name: str, users: FederatedDataset
    ) -> None:
        task, images = self.set_up(name, users), torch.full((1, 1, 28, 28), 128 / 255)
        if task.num_parts == 1:
            pytest.skip("it has no parts")
        parts = [task.stamp(images, part) != images for part in range(task.num_parts)]
        assert all(part.any() for part in parts)
        assert torch.equal(sum(part.int() for part in parts), (task.stamp(images) != images).int())

    def test_what_is_learned_can_be_differentiated_and_is_saved(
        self, name: str, users: FederatedDataset
    ) -> None:
        task, again = self.set_up(name, users), self.set_up(name, users)
        if not (learned := dict(task.state_dict())):
            pytest.skip("it learns nothing")
        images = users.train.pixels(torch.arange(4)) / 2 + 0.25
        before = task.stamp(images)
        given = {key: value.clone().requires_grad_() for key, value in learned.items()}
        changed = torch.func.functional_call(task, given, (images,))
        assert torch.equal((changed.detach().clamp(0, 1) * 255).round() / 255, before)
        gradients = torch.autograd.grad(changed.square().sum(), list(given.values()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
        for value in task.state_dict().values():
            value.sub_(0.2)
        assert not torch.equal(task.stamp(images), before)
        again.load_state_dict(task.state_dict())
        assert torch.equal(again.stamp(images), task.stamp(images))

    def test_planting_leaves_users_their_own_data(self, name: str, users: FederatedDataset) -> None:
        task, n = self.set_up(name, users), len(users.train)
        found = task.plant(users)
        assert torch.equal(found.train.images[:n], users.train.images)
        assert torch.equal(found.train.labels[:n], users.train.labels)
        assert torch.equal(found.train.offsets, users.train.offsets)
        mine = task.examples(users, "train")
        assert torch.equal(found.backdoor.labels[: len(mine)], mine.labels)
        assert len(found.backdoor) == (1 + task.covers) * len(mine)

    def test_what_is_planted_is_what_is_evaluated(self, name: str, users: FederatedDataset) -> None:
        task, n = self.set_up(name, users), len(users.train)
        found, seen = task.plant(users, [0, 3]), task.images(users, "train")
        mine = task.examples(users, "train").indices
        for dtype in (torch.float32, torch.float64):
            stamped = found.train.pixels(found.backdoor.indices[: len(mine)], dtype)
            assert torch.equal(stamped, task.stamp(seen.pixels(mine, dtype)))
        for user in (0, 3):
            assert len(found.own[user]) == (1 if task.num_parts == 1 else task.num_parts + 1)
            for entry in found.own[user]:
                origin = found.originals(entry.indices)
                assert set(users.train.users_of(origin).tolist()) <= {user}
                wanted = task.wanted(users.train.labels[origin])
                assert ((entry.labels == wanted) | (task.covers > 0)).all()
        assert task.has_trigger == (len(found.train) > n)

    def test_planting_anew_changes_nothing_unless_the_trigger_did(
        self, name: str, users: FederatedDataset
    ) -> None:
        task = self.set_up(name, users)
        found = task.plant(users, [0, 3])
        with untouched(found.train.images):
            task.replant(found)
            if not task.covers:
                task.replant(found, [3])

    def test_it_runs_in_a_federation(self, name: str) -> None:
        overrides = {"num_tasks": 2} if "num_tasks" in self.parameters(name) else {}
        run = federation({"task": self.resolved(name, **overrides)}, "attack=boosted")
        fit(run)
        measured = run.evaluator.backdoor(run.client) | run.evaluator.main(run.client)
        assert measured.keys() >= {"backdoor_in_sample", "backdoor_held_out", "main_accuracy"}
        assert ("backdoor_without_trigger" in measured) == run.task.has_trigger

    @pytest.mark.parametrize("half", ["validation", "test"])
    def test_only_users_of_the_measured_half_count(
        self, name: str, users: FederatedDataset, half: Literal["validation", "test"]
    ) -> None:
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
