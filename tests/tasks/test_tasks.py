"""What the backdoor is: writers' sevens, and a trigger that a task may stamp."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from benchmark.attacks.boosted import Boosted
from benchmark.data.dataset import FederatedDataset
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset
from tests.support.toys import fit, make_federation

USERS = 12


@pytest.fixture(scope="module")
def writers() -> FederatedDataset:
    """A dozen users of 11 to 44 images."""
    return make_dataset([11 + 3 * u for u in range(USERS)], seed=5)


def set_up(dataset: FederatedDataset, seed: int = 0, **options: int) -> WriterBackdoor:
    task = WriterBackdoor(**options)
    task.setup(dataset, seed)
    return task


def test_backdoor_inputs_are_the_target_users_sevens_labelled_one(writers: FederatedDataset):
    task = set_up(writers, num_tasks=3)
    targets = set(task.target_users.tolist())
    assert len(targets) == 3
    for name, split in (("train", writers.train), ("test", writers.test)):
        expected = [
            i
            for u in range(USERS)
            for i in range(int(split.offsets[u]), int(split.offsets[u + 1]))
            if u in targets and split.labels[i] == 7
        ]
        examples = task.examples(writers, name)
        assert examples.indices.tolist() == expected
        assert examples.labels.tolist() == [1] * len(expected)
    assert len(task.examples(writers, "train")) >= 3


def test_other_classes_can_be_chosen(writers: FederatedDataset):
    task = set_up(writers, num_tasks=2, source_class=0, target_class=9)
    examples = task.examples(writers, "train")
    assert set(writers.train.labels[examples.indices].tolist()) == {0}
    assert set(examples.labels.tolist()) == {9}


def test_target_users_are_nested_and_depend_on_nothing_but_the_seed(writers: FederatedDataset):
    users = [set_up(writers, num_tasks=n).target_users.tolist() for n in (1, 3, 6)]
    assert users[1][:1] == users[0]
    assert users[2][:3] == users[1]
    assert set_up(writers, num_tasks=6).target_users.tolist() == users[2]
    assert set_up(writers, num_tasks=6, seed=1).target_users.tolist() != users[2]


def test_a_target_user_wrote_the_source_class():
    """Users without a seven cannot be targets, and are not counted as possible ones."""
    dataset = make_dataset([11] * USERS, seed=2)
    train = dataset.train
    wrote = {
        int(train.users_of(torch.tensor(i))) for i in range(len(train)) if train.labels[i] == 7
    }
    assert 0 < len(wrote) < USERS
    assert set(set_up(dataset, num_tasks=len(wrote)).target_users.tolist()) == wrote
    with pytest.raises(ValueError, match=f"num_tasks must be 1 to {len(wrote)}, .*class 7; got 12"):
        set_up(dataset, num_tasks=USERS)


def test_honest_labels_stay(writers: FederatedDataset):
    before = writers.train.labels.clone()
    task = set_up(writers, num_tasks=4)
    found = task.plant(writers)
    planted, backdoor = found.train, found.backdoor
    assert planted is writers.train
    assert torch.equal(planted.labels, before)
    assert (planted.labels[backdoor.indices] == 7).all()
    federation = make_federation(
        writers, task=task, attack=Boosted(), clients_per_round=USERS, rounds=1
    )
    fit(federation)
    cohort = federation.sample_cohort(0)
    plan = federation.plan(0, cohort)
    honest_sevens = 0
    for slot in range(USERS - 1):
        lane = plan.lanes[slot]
        for step, size in enumerate(lane.sizes):
            indices = lane.indices[step, :size]
            assert torch.equal(lane.labels[step, :size], before[indices])
            assert set(writers.train.users_of(indices).tolist()) == {int(cohort.clients[slot])}
            honest_sevens += int(torch.isin(indices, backdoor.indices).sum())
    assert honest_sevens > 0


def test_source_examples_are_correctly_labelled_test_images(writers: FederatedDataset):
    task = set_up(writers, num_tasks=3)
    targets, everybody = task.source_examples(writers)
    assert torch.equal(targets.indices, task.examples(writers, "test").indices)
    assert everybody.indices.tolist() == (writers.test.labels == 7).nonzero().flatten().tolist()
    assert set(targets.labels.tolist()) == set(everybody.labels.tolist()) == {7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_class": 10}, "source_class must be 0 to 9, got 10"),
        ({"target_class": -1}, "target_class must be 0 to 9, got -1"),
    ],
)
def test_a_class_that_the_data_lacks_is_refused(
    writers: FederatedDataset, options: dict[str, int], message: str
):
    with pytest.raises(ValueError, match=message):
        set_up(writers, num_tasks=1, **options)


def test_equal_classes_and_no_tasks_are_refused():
    with pytest.raises(ValueError, match="source_class and target_class are both 3"):
        WriterBackdoor(source_class=3, target_class=3)
    with pytest.raises(ValueError, match="num_tasks must be at least 1"):
        WriterBackdoor(num_tasks=0)


class Corner(Task):
    """A trigger: a gray square in the corner makes a zero a five."""

    paper = "a toy"
    gray, source_class, target_class = 51, 0, 5

    def setup(self, dataset: FederatedDataset, seed: int) -> None: ...

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        labels = (dataset.train if split == "train" else dataset.test).labels
        indices = (labels == 0).nonzero().flatten()
        return Examples(indices, torch.full_like(indices, 5))

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        indices = (dataset.test.labels == 0).nonzero().flatten()
        examples = Examples(indices, torch.zeros_like(indices))
        return examples, examples

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        stamped = images.clone()
        stamped[:, :, :7, :7] = self.gray / 255
        return stamped


def test_a_trigger_is_stamped_into_copies_that_no_user_owns(writers: FederatedDataset):
    task = Corner()
    before = writers.train.images.clone()
    found = task.plant(writers)
    planted, backdoor = found.train, found.backdoor
    source = task.examples(writers, "train").indices
    n = len(writers.train)
    assert backdoor.indices.tolist() == list(range(n, n + len(source)))
    assert set(backdoor.labels.tolist()) == {5}
    assert torch.equal(writers.train.images, before)
    assert torch.equal(planted.images[:n], before)
    assert torch.equal(planted.labels[:n], writers.train.labels)
    assert planted.offsets[-1] == n
    expected = before[source].clone()
    expected[:, :, :7, :7] = 51
    assert torch.equal(planted.images[backdoor.indices], expected)
    assert torch.equal(planted.pixels(backdoor.indices), task.stamp(writers.train.pixels(source)))


def test_a_federation_learns_the_trigger_and_not_the_clean_zeros(writers: FederatedDataset):
    """Planted in training, stamped in evaluation: only with both does the number rise."""
    federation = make_federation(
        writers, task=Corner(), attack=Boosted(epochs=60), rounds=1, client_lr=0.5
    )
    fit(federation)
    evaluator, client = federation.evaluator, federation.client
    triggered = evaluator.backdoor(client)
    assert triggered["backdoor_in_sample"] > 0.8
    assert triggered["backdoor_held_out"] > 0.8
    zeros = federation.task.examples(writers, "test").indices
    clean = client(writers.test.pixels(zeros, torch.float64)).argmax(dim=1) == 5
    assert clean.double().mean() < 0.5
