"""Each trigger against its formula, computed by hand, and each task's own choices."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.config.compose import named
from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.base import Task
from benchmark.tasks.planting import COVER
from benchmark.testing.toys import make_dataset
from benchmark.utils.errors import UserError


def dark(dataset: FederatedDataset, level: int = 0) -> FederatedDataset:
    """The same with one gray everywhere in training: 0 is dark."""
    images = torch.full_like(dataset.train.images, level)
    return replace(dataset, train=replace(dataset.train, images=images))


@pytest.fixture(scope="module")
def users() -> FederatedDataset:
    return make_dataset([30] * 10, seed=3)


def built(name: str, dataset: FederatedDataset, **options: Any) -> Task:
    task: Task = named("task", name, **options)
    task.setup(dataset, 0)
    return task


def rows(image: Tensor) -> list[str]:
    """An image's first channel: # is white, . is not."""
    return ["".join(".#"[int(x == 1)] for x in row) for row in image[0]]


def test_the_cross_is_that_of_digits(users: FederatedDataset):
    task = built("pattern", dark(users), shape="cross")
    stamped = task.stamp(torch.full((1, 1, 28, 28), 0.2))
    assert rows(stamped[0, :, 23:27, 23:27]) == ["...#", "..#.", ".##.", "#..#"]
    assert (stamped == 1).sum() == 6


def test_alies_patch_is_five_pixels_in_the_upper_left(users: FederatedDataset):
    task = built("pattern", dark(users), size=5, margin=0, corner="upper_left")
    stamped = task.stamp(torch.zeros(1, 3, 28, 28))
    assert stamped[:, :, :5, :5].eq(1).all()
    assert stamped.sum() == 75


def test_all_to_all_wants_the_next_class(users: FederatedDataset):
    task = built("pattern", users, target_class=None)
    labels = torch.arange(10)
    assert task.wanted(labels).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert task.stamps(labels).all()
    tested = task.examples(users, "test")
    assert len(tested) == len(users.test)
    assert torch.equal(tested.labels, (users.test.labels + 1) % 10)


def test_one_to_one_plants_one_class_alone(users: FederatedDataset):
    task = built("blended", users, source_class=7, target_class=2)
    assert task.stamps(torch.arange(10)).nonzero().tolist() == [[7]]
    planted = task.plant(users, [4])
    assert set(planted.train.labels[planted.own[4][0].indices].tolist()) <= {7}


def test_blended_is_a_weighted_mean_with_one_noise_image(users: FederatedDataset):
    task = built("blended", users, alpha=0.25)
    noise = (task.trigger(torch.zeros(1, 1, 28, 28, dtype=torch.float64)) / 0.25)[0]
    assert 0.45 < noise.mean() < 0.55
    images = users.train.pixels(torch.arange(5), torch.float64)
    expected = ((0.75 * images + 0.25 * noise) * 255).round() / 255
    assert torch.equal(task.stamp(images), expected)
    other = named("task", "blended")
    other.setup(users, 1)
    assert not torch.equal(other.noise, task.noise)


def test_stripes_are_a_sine_over_columns(users: FederatedDataset):
    task = built("sinusoidal", dark(users))
    (row,) = task.stamp(torch.full((1, 1, 1, 28), 0.5))[0, 0]
    expected = [
        round(255 * (0.5 + 40 / 255 * math.sin(2 * math.pi * 6 * j / 28))) for j in range(28)
    ]
    assert (row * 255).round().tolist() == expected
    clipped = task.stamp(torch.zeros(1, 1, 1, 28)).flatten()
    assert (clipped * 255).round().max() == 39  # round(40 sin(2π 6·6/28)) of column 6 or so
    assert clipped.eq(0).sum() > 10


def test_stripes_are_the_opposite_where_ink_is_dark(users: FederatedDataset):
    on_dark, on_bright = (built("sinusoidal", dark(users, level)) for level in (0, 255))
    images = users.train.pixels(torch.arange(3))
    assert torch.equal(
        (on_bright.stamp(images) * 255).round(), 255 - (on_dark.stamp(1 - images) * 255).round()
    )


def test_clean_labels_are_planted_in_the_target_class_and_measured_on_others(
    users: FederatedDataset,
):
    task = built("sinusoidal", users, clean_label=True)
    planted = task.plant(users, [0])
    for entry in (planted.backdoor, *planted.own[0]):
        assert len(entry) > 0
        assert set(users.train.labels[planted.originals(entry.indices)].tolist()) == {1}
        assert set(entry.labels.tolist()) == {1}
    assert 1 not in users.test.labels[task.examples(users, "test").indices]
    with pytest.raises(ValueError, match="clean_label needs a target_class"):
        named("task", "sinusoidal", clean_label=True, target_class=None)


def test_bars_lie_where_the_papers_code_has_them(users: FederatedDataset):
    task = built("dba", dark(users))
    images = torch.zeros(1, 1, 28, 28)
    whole = task.stamp(images)[0]
    assert rows(whole[:, :5, :11]) == [
        "####..####.",
        "...........",
        "...........",
        "####..####.",
        "...........",
    ]
    assert whole.sum() == 16
    starts = [task.stamp(images, part)[0, 0].nonzero()[0].tolist() for part in range(4)]
    assert starts == [[0, 0], [0, 6], [3, 0], [3, 6]]
    assert built("dba", dark(users, 255)).stamp(1 - images).sum() == 784 - 16
    cifar = built("dba", dark(users), length=6, gap=3, shift=1)
    assert cifar.stamp(images, 3)[0, 0].nonzero()[[0, -1]].tolist() == [[5, 10], [5, 15]]


def test_bars_must_fit(users: FederatedDataset):
    with pytest.raises(ValueError, match="bars that end at 4 x 30, and images are 28 x 28"):
        built("dba", users, length=14)


def test_a_part_is_planted_by_who_is_told_to_and_d_mal_bears_the_whole(users: FederatedDataset):
    task = built("dba", dark(users))
    planted = task.plant(dark(users), [5])
    whites = [planted.train.images[entry.indices] == 255 for entry in planted.own[5]]
    assert [int(white[0].sum()) for white in whites] == [4, 4, 4, 4, 16]
    assert (planted.train.images[planted.backdoor.indices] == 255).sum((1, 2, 3)).eq(16).all()


def test_the_warp_bends_positions_by_a_smooth_grid(users: FederatedDataset):
    task = built("wanet", users, strength=1.0)
    columns = torch.arange(28.0).expand(1, 1, 28, 28) / 27
    bent = task.trigger(columns)[0, 0]
    x = torch.linspace(-1, 1, 28, dtype=torch.float64)
    moved = (task.bent[..., 0].clamp(-1, 1) + 1) / 2
    assert torch.allclose(bent.double(), moved, atol=1e-6)
    shift = (task.bent[..., 0] - x) * 28
    assert 0.2 < shift.abs().mean() < 2
    assert shift.diff(dim=1).abs().max() < shift.abs().max() / 2
    weak = built("wanet", users, strength=0.5)
    assert torch.allclose((weak.bent[..., 0] - x) * 2, task.bent[..., 0] - x)


def test_covers_are_bent_otherwise_and_keep_their_labels(users: FederatedDataset):
    task = built("wanet", users)
    planted = task.plant(users, [2])
    (own,) = planted.own[2]
    n = len(own) // 3
    assert torch.equal(planted.parts[own.indices - planted.first][n:], torch.full((2 * n,), COVER))
    stamped, first, second = planted.train.images[own.indices].float().split(n)
    assert torch.equal(own.labels[n:], planted.train.labels[own.indices[n:]])
    assert set(own.labels[:n].tolist()) == {1}
    clean = users.train.images[planted.originals(own.indices[:n])].float()
    for cover in (first, second):
        assert not torch.equal(cover, stamped)
        assert (cover - stamped).abs().mean() < (clean - stamped).abs().mean() * 2
    assert not torch.equal(first, second)


def test_a_learned_patch_is_gray_until_it_is_set_and_lies_where_it_should():
    dataset = make_dataset([20] * 8, image=(3, 32, 32))
    task = built("learned_patch", dataset)
    images = torch.zeros(1, 3, 32, 32)
    stamped = task.stamp(images)
    assert stamped[:, :, 2:7, 2:7].unique().tolist() == [pytest.approx(128 / 255)]
    assert stamped.count_nonzero() == 75
    task.learn(torch.full((3, 5, 5), 0.3004))
    assert task.pattern.unique().tolist() == [pytest.approx(77 / 255)]
    task.learn(torch.full((3, 5, 5), 1.5))
    assert task.stamp(images).sum() == 75
    with pytest.raises(ValueError, match=r"patch of 5 pixels at \(2, 28\) does not fit"):
        built("learned_patch", dataset, column=28)


def test_learned_noise_is_bounded_and_that_of_its_weights():
    dataset = make_dataset([20] * 8, image=(3, 32, 32))
    task = built("learned_noise", dataset, width=4)
    images = torch.full((2, 3, 32, 32), 0.5)
    assert 0 < (task.trigger(images) - images).abs().max() <= 0.3
    counts = [3 * 4 * 9 + 8, 4 * 8 * 9 + 16, 8 * 4 * 9 + 8, 4 * 3 * 9 + 6]
    assert task.weights.shape == (sum(counts),)
    weights = torch.zeros(sum(counts))
    weights[-3:] = torch.tensor([9.0, -9.0, 0.0])
    task.learn(weights)
    changed = (task.trigger(images) - images)[:, :, 7, 7]
    assert torch.allclose(changed, torch.tensor([0.3, -0.3, 0.0]), atol=1e-6)
    with pytest.raises(ValueError, match="images of 4 x 4 are too small for noise: 5 or more"):
        built("learned_noise", make_dataset([20] * 8, image=(1, 4, 4)))


def test_an_images_noise_is_its_own():
    """It depends on no other image, as it would if batches were normalized."""
    task, images = built("learned_noise", make_dataset([20] * 8)), torch.rand(5, 1, 28, 28)
    whole, alone = task.trigger(images), task.trigger(images[3:4])
    assert torch.allclose(whole[3:4], alone, atol=1e-5)
    assert not torch.allclose(whole[3] - images[3], whole[2] - images[2], atol=1e-2)


def test_labels_are_flipped_for_all_of_a_clients_own_class(users: FederatedDataset):
    task = built("label_flip_backdoor", users)
    planted = task.plant(users, range(10))
    assert planted.train is users.train
    flipped = torch.cat([planted.own[user][0].indices for user in range(10)])
    assert flipped.tolist() == (users.train.labels == 7).nonzero().flatten().tolist()
    assert all(set(planted.own[user][0].labels.tolist()) <= {1} for user in range(10))
    assert len(task.examples(users, "test")) == (users.test.labels == 7).sum()


@pytest.fixture
def odd() -> FederatedDataset:
    """Of every class's images one in ten is like no other."""
    dataset = make_dataset([60] * 10, seed=6)
    for split in (dataset.train, dataset.test):
        plain = torch.randint(100, 120, split.images.shape, generator=torch.Generator())
        split.images.copy_(plain)
        for label in range(10):
            own = (split.labels == label).nonzero().flatten()
            unlike = own[: math.ceil(len(own) / 10)]
            split.images[unlike] = torch.randint(256, (len(unlike), 1, 28, 28)).to(torch.uint8)
    return dataset


def test_the_tail_is_what_is_unlike_the_rest(odd: FederatedDataset):
    task = built("edge_case", odd, components=5)
    for which, split in (("train", odd.train), ("test", odd.test)):
        examples = task.examples(odd, which)
        sevens = (split.labels == 7).nonzero().flatten()
        assert examples.indices.tolist() == sevens[: math.ceil(len(sevens) / 10)].tolist()
        assert set(examples.labels.tolist()) == {1}
    planted = task.plant(odd, range(10))
    owned = torch.cat([planted.own[user][0].indices for user in range(10)])
    assert owned.tolist() == planted.backdoor.indices.tolist()


@pytest.mark.parametrize("form", ["folder", "npz", "npz with test"])
def test_images_of_ones_own_are_planted_and_half_of_them_held_out(
    form: str, users: FederatedDataset, tmp_path: Any
):
    drawn = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
    path = tmp_path / "own.npz"
    if form == "folder":
        from PIL import Image

        path = tmp_path
        for number, image in enumerate(drawn):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
    elif form == "npz":
        np.savez(path, images=drawn)
    else:
        np.savez(path, images=drawn, test=np.arange(6) < 2)
    task = built("edge_case", users, path=str(path))
    planted = task.plant(users, [1])
    n, held = len(users.train), 2 if form == "npz with test" else 3
    assert planted.backdoor.indices.tolist() == list(range(n, n + 6 - held))
    assert set(planted.backdoor.labels.tolist()) == {1}
    assert planted.train.labels[n:].eq(7).all()
    assert planted.train.offsets[-1] == n
    assert len(planted.own[1][0]) == 0
    tested = task.images(users, "test").images[task.examples(users, "test").indices]
    assert len(tested) == held
    found = torch.cat([planted.train.images[n:], tested])[:, 0]
    assert sorted(map(bytes, found.numpy())) == sorted(map(bytes, drawn))
    if form == "npz with test":
        assert torch.equal(tested[:, 0], torch.from_numpy(drawn[:2]))
    own, everybody = task.source_examples(users)
    assert len(own) == 0
    assert len(everybody) == (users.test.labels == 7).sum()


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"images": np.zeros((4, 32, 32, 3), np.uint8)}, "must be 1 x 28 x 28, .* got 3 x 32 x 32"),
        ({"other": np.zeros(3)}, "no npz with an array 'images'"),
        ({"images": np.zeros((1, 28, 28), np.uint8)}, "no test image: none is held out"),
        (
            {"images": np.zeros((4, 28, 28), np.uint8), "test": np.zeros(3, bool)},
            "test must be true or false for each of 4 images",
        ),
    ],
)
def test_own_images_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], fault: str, users: FederatedDataset, tmp_path: Any
):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises((ValueError, UserError), match=fault) as refused:
        built("edge_case", users, path=str(tmp_path / "own.npz"))
    assert "\n" not in str(refused.value)
