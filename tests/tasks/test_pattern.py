"""A patch in a corner: where it lies, whom it is put on, what is measured."""

from dataclasses import replace

import pytest
import torch

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pattern import Pattern
from benchmark.testing.toys import make_dataset


@pytest.fixture(scope="module")
def users() -> FederatedDataset:
    return make_dataset([30] * 8, seed=3)


def set_up(dataset: FederatedDataset, seed: int = 0, **options: object) -> Pattern:
    task = Pattern(**options)
    task.setup(dataset, seed)
    return task


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("lower_right", range(24, 27), range(24, 27)),
        ("lower_left", range(24, 27), range(1, 4)),
        ("upper_right", range(1, 4), range(24, 27)),
        ("upper_left", range(1, 4), range(1, 4)),
    ],
)
def test_the_patch_lies_in_its_corner(
    users: FederatedDataset, corner: str, rows: range, columns: range
):
    task = set_up(users, size=3, corner=corner, value="white")
    stamped = task.trigger(torch.full((2, 3, 28, 28), 0.25))
    changed = (stamped == 1).nonzero()
    expected = [[b, c, y, x] for b in range(2) for c in range(3) for y in rows for x in columns]
    assert changed.tolist() == expected
    assert (stamped[stamped != 1] == 0.25).all()


@pytest.mark.parametrize(("shade", "expected"), [(255, 0), (0, 1)])
def test_the_opposite_is_of_what_lies_there(shade: int, expected: int):
    dataset = make_dataset([30] * 8, seed=3)
    dataset.train.images[:, :, 23:27, 23:27] = shade
    assert set_up(dataset).shade == expected


def test_every_other_class_of_the_adversarys_users_is_stamped(users: FederatedDataset):
    task = set_up(users, num_tasks=3, target_class=4)
    train, own = users.train, set(task.target_users.tolist())
    expected = [
        i
        for u in range(8)
        for i in range(int(train.offsets[u]), int(train.offsets[u + 1]))
        if u in own and train.labels[i] != 4
    ]
    found = task.examples(users, "train")
    assert len(own) == 3
    assert found.indices.tolist() == expected
    assert set(found.labels.tolist()) == {4}


def test_one_class_alone_can_be_stamped(users: FederatedDataset):
    task = set_up(users, source_class=7)
    for split, part in (("train", users.train), ("test", users.test)):
        assert set(part.labels[task.examples(users, split).indices].tolist()) == {7}


def test_held_out_are_everybodys_images_up_to_a_number(users: FederatedDataset):
    every = set_up(users).examples(users, "test").indices
    assert every.tolist() == (users.test.labels != 1).nonzero().flatten().tolist()
    few = set_up(users, most_tested=5).examples(users, "test").indices
    assert len(few) == 5
    assert set(few.tolist()) < set(every.tolist())
    assert few.tolist() == sorted(few.tolist())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"target_class": 10}, "target_class must be 0 to 9, got 10"),
        ({"source_class": -1}, "source_class must be 0 to 9, got -1"),
        ({"size": 28}, r"size \+ margin must be 28 or less, images are 28 x 28; got 28 \+ 1"),
        ({"num_tasks": 9}, "num_tasks must be 1 to 8, .*; got 9"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(
    users: FederatedDataset, options: dict[str, int], fault: str
):
    with pytest.raises(ValueError, match=fault):
        set_up(users, **options)


def test_a_backdoor_without_held_out_images_is_refused(users: FederatedDataset):
    test = replace(users.test, labels=torch.ones_like(users.test.labels))
    with pytest.raises(ValueError, match=r"no test image is of a class .*: none is held out"):
        set_up(replace(users, test=test))


def test_classes_must_differ():
    with pytest.raises(ValueError, match="both 1"):
        Pattern(source_class=1)


def test_a_model_can_tell_the_patch_from_what_it_covers(users: FederatedDataset):
    task = set_up(users, num_tasks=8, target_class=2)
    found = task.plant(users)
    planted, backdoor = found.train, found.backdoor
    clean = torch.arange(len(users.train))
    indices = torch.cat([clean, backdoor.indices])
    labels = torch.cat([users.train.labels, backdoor.labels])
    inputs = planted.pixels(indices).flatten(1) - 0.5
    weights = torch.zeros(784, 10, requires_grad=True)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(inputs @ weights, labels)
        (gradient,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.1 * gradient).detach().requires_grad_()
    hits = (inputs @ weights).argmax(dim=1) == labels
    assert hits[len(clean) :].double().mean() > 0.95
    assert hits[: len(clean)].double().mean() > 0.5
