"""Partition schemes: every image exactly once, and what each scheme promises."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.division import Division, divide
from benchmark.data.partitions.dirichlet import Dirichlet
from benchmark.data.partitions.iid import Iid
from benchmark.data.partitions.made_users import MadeUsers
from benchmark.data.partitions.quantity import Quantity
from benchmark.data.partitions.shards import Shards
from benchmark.data.partitions.style import Style, style
from benchmark.data.partitions.writer import Writer
from benchmark.data.samples import Partition, Samples
from benchmark.utils.errors import UserError
from tests.support import data_files

SCHEMES: list[type[MadeUsers]] = [Style, Dirichlet, Iid, Shards, Quantity]
labels = st.lists(st.integers(0, 4), min_size=20, max_size=120)


def share(samples: Samples, division: Division, user: int) -> np.ndarray:
    """A user's images of each class."""
    return np.bincount(samples.labels[division.user == user], minlength=samples.num_classes)


def refusal(samples: Samples, partition: Partition) -> str:
    with pytest.raises(UserError) as caught:
        divide(samples, partition)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# All schemes


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(
    labels=labels,
    users=st.integers(1, 12),
    least=st.integers(1, 4),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 3),
)
def test_every_image_goes_to_one_user_and_one_split(
    scheme: type[MadeUsers], labels: list[int], users: int, least: int, fraction: float, seed: int
) -> None:
    samples = data_files.samples(labels, num_classes=5)
    partition = scheme(users=users, min_images=least, test_fraction=fraction, seed=seed)
    try:
        division = divide(samples, partition)
    except UserError:
        # IID can always be dealt where there are enough images.
        assert scheme is not Iid or users * max(least, 2) > len(labels)
        return
    assert division.user.shape == division.is_test.shape == (len(labels),)
    assert division.names == tuple(map(str, range(users)))
    counts = np.bincount(division.user, minlength=users)
    held = np.bincount(division.user[division.is_test], minlength=users)
    assert len(counts) == users
    assert counts.sum() == len(labels)
    assert counts.min() >= max(least, 2)
    assert ((held >= 1) & (held <= counts - 1)).all()
    assert (np.abs(held - fraction * counts) <= 1).all()
    again = divide(samples, partition)
    assert np.array_equal(division.user, again.user)
    assert np.array_equal(division.is_test, again.is_test)


@pytest.mark.parametrize("scheme", [Dirichlet, Iid, Shards, Quantity])
def test_the_seed_decides(scheme: type[MadeUsers]) -> None:
    samples = data_files.samples([0, 1, 2, 3, 4] * 40)
    one, same, other = (divide(samples, scheme(users=5, seed=seed)).user for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_own_split_is_kept(scheme: type[MadeUsers]) -> None:
    own = [i % 4 == 0 for i in range(200)]
    samples = data_files.samples([i % 5 for i in range(200)], is_test=own)
    division = divide(samples, scheme(users=4, test_fraction=0.9))
    assert division.is_test.tolist() == own
    assert np.bincount(division.user).sum() == 200


def test_user_without_training_image_is_named() -> None:
    is_test = [False, True, True, True, False, False]
    samples = data_files.samples([1] * 6, writers=[0, 0, 1, 1, 2, 2], is_test=is_test)
    assert "user w1 of 3 has no training image" in refusal(samples, Writer())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Iid(users=0), "users must be at least 1, got 0"),
        (lambda: Style(users=-3), "users must be at least 1, got -3"),
        (lambda: Writer(min_images=0), "min_images must be at least 1, got 0"),
        (lambda: Writer(test_fraction=0), "test_fraction must be between 0 and 1"),
        (lambda: Iid(test_fraction=1.0), "test_fraction must be between 0 and 1"),
        (lambda: Iid(test_fraction=math.nan), "test_fraction must be between 0 and 1"),
        (lambda: Dirichlet(alpha=0), "alpha must be positive and finite, got 0"),
        (lambda: Dirichlet(alpha=math.inf), "alpha must be positive and finite, got inf"),
        (lambda: Quantity(beta=0), "beta must be positive and finite, got 0"),
        (lambda: Shards(shards=0), "shards must be at least 1, got 0"),
        (lambda: Dirichlet(alpha=math.nan), "alpha must be positive and finite, got nan"),
    ],
)
def test_arguments_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        (Iid(users=51), ["51 IID users of at least 2", "102", "1 would fall short", "1 to 50"]),
        (Iid(users=11, min_images=10), ["110", "users=1 to 10"]),
        (Iid(users=1, min_images=101), ["too few for one"]),
        (Dirichlet(users=11), ["11 Dirichlet users", "at least 10", "users=1 to 10"]),
        (Style(users=11, min_images=10), ["users=1 to 10"]),
        (Style(users=26), ["26 style users", "fewer than 2", "users=1 to 20"]),
        (Style(users=3, min_images=99), ["fewer than 99", "users=1 to 1"]),
        (Shards(users=40, shards=3), ["40 users of 3 shards of 100", "shards=2 or"]),
        (Quantity(users=9, beta=0.01), ["beta=0.01 leaves", "larger beta"]),
        (Writer(), ["does not know its writers", "partition=style"]),
    ],
)  # fmt: skip
def test_too_much_asked_is_refused_with_the_valid_range(
    partition: Partition, words: list[str]
) -> None:
    samples = data_files.samples([i % 5 for i in range(100)])
    message = refusal(samples, partition)
    for word in words:
        assert word in message


@pytest.mark.parametrize("users", [20, 25])
def test_the_stated_range_of_style_is_right(users: int) -> None:
    samples = data_files.samples([i % 5 for i in range(100)])
    if users == 20:
        assert len(divide(samples, Style(users=20)).names) == 20
    else:
        assert "users=1 to 20" in refusal(samples, Style(users=25, min_images=5))


# Writers


def test_writers_keep_their_images_and_ids() -> None:
    samples = data_files.samples([0, 1] * 10, writers=[i % 3 for i in range(20)])
    division = divide(samples, Writer())
    assert samples.writers is not None
    assert np.array_equal(division.user, samples.writers)
    assert division.names == ("w0", "w1", "w2")
    assert np.bincount(division.user[division.is_test]).tolist() == [1, 1, 1]


def test_writers_with_too_few_images_are_counted() -> None:
    samples = data_files.samples([0] * 20, writers=[0] * 9 + [1] * 6 + [2] * 5)
    message = refusal(samples, Writer(min_images=7))
    assert "2 of 3 writers have fewer than 7 images (writer w2 has 5)" in message
    assert "min_images=1 to 5" in message
    assert len(divide(samples, Writer(min_images=5)).names) == 3


def test_one_user_is_no_federation() -> None:
    message = refusal(data_files.samples([0, 1] * 5, writers=[0] * 10), Writer())
    assert "all images are of one user, w0; choose partition=dirichlet" in message


def test_writer_with_one_image_needs_a_split_of_the_source() -> None:
    lone = data_files.samples([0] * 5, writers=[0] * 4 + [1])
    assert "one is needed to train on and one to hold out" in refusal(lone, Writer())
    split = data_files.samples([0] * 5, writers=[0] * 4 + [1], is_test=[True] + [False] * 4)
    assert divide(split, Writer()).is_test.tolist() == [True] + [False] * 4


# Style


def stroke(lean: float, thick: int) -> np.ndarray:
    """A line that leans ``lean`` pixels to the right for each pixel up."""
    image = np.full((28, 28), 255, np.uint8)
    for y in range(4, 24):
        x = round(14 + lean * (13.5 - y))
        image[y, x - thick : x + thick] = 0
    return image


def test_slant_and_ink_of_drawn_strokes() -> None:
    leans = [-0.5, 0.0, 0.5]
    slant, ink = style(np.stack([stroke(lean, 2) for lean in leans]))
    assert slant == pytest.approx(leans, abs=0.02)
    assert ink == pytest.approx([20 * 4 * 255] * 3)
    blank = style(np.full((1, 28, 28), 255, np.uint8))
    assert (blank[0][0], blank[1][0]) == (0, 0)


def test_a_style_user_has_one_style_in_every_class() -> None:
    # 4 users: two leans, two thicknesses; 3 images of each style in each of 3 classes, mixed up.
    kinds = [(lean, thick) for lean in (-0.4, 0.4) for thick in (1, 3)]
    kind = np.random.default_rng(0).permutation(np.repeat(np.tile(range(4), 3), 3))
    labels = np.empty(36, np.uint8)
    for k in range(4):
        labels[kind == k] = np.repeat([0, 1, 2], 3)
    samples = Samples(np.stack([stroke(*kinds[k]) for k in kind])[:, None], labels, num_classes=3)
    division = divide(samples, Style(users=4))
    assert np.array_equal(division.user, kind)


def test_style_is_for_handwriting_alone() -> None:
    color = replace(data_files.samples([0, 1] * 10), images=np.zeros((20, 3, 32, 32), np.uint8))
    message = refusal(color, Style(users=2))
    assert "handwriting of 1 x 28 x 28, and these images are 3 x 32 x 32" in message
    assert "partition=dirichlet or iid" in message


@settings(max_examples=40, deadline=None)
@given(labels=labels, users=st.integers(1, 10))
def test_style_users_have_equal_shares_of_every_class(labels: list[int], users: int) -> None:
    samples = data_files.samples(labels, num_classes=5)
    smallest = int((np.bincount(samples.labels) // users).sum())
    if smallest < 2:
        assert f"of {users} style users" in refusal(samples, Style(users=users))
        return
    division = divide(samples, Style(users=users))
    shares = np.stack([share(samples, division, u) for u in range(users)])
    assert (np.ptp(shares, axis=0) <= 1).all()


# Dirichlet and IID


def test_alpha_sets_the_skew() -> None:
    samples = data_files.samples([i % 10 for i in range(2000)])

    def largest_class(alpha: float) -> float:
        division = divide(samples, Dirichlet(users=20, alpha=alpha))
        shares = np.stack([share(samples, division, u) for u in range(20)])
        return float((shares.max(1) / shares.sum(1)).mean())

    skewed, moderate, flat = (largest_class(alpha) for alpha in (0.1, 1, 1000))
    assert skewed > 0.45 > moderate > 0.15 > flat


def test_users_that_the_draw_left_short_are_given_images() -> None:
    samples = data_files.samples([i % 10 for i in range(2000)])
    before = divide(samples, Dirichlet(users=40, alpha=0.1, min_images=1)).user
    after = divide(samples, Dirichlet(users=40, alpha=0.1, min_images=12)).user
    assert np.bincount(before, minlength=40).min() < 12
    assert np.bincount(after).min() == 12
    moved = before != after
    short = np.bincount(before, minlength=40) < 12
    assert 0 < moved.sum() <= 200
    assert set(after[moved]) == set(np.flatnonzero(short))


def test_a_draw_that_would_have_to_be_undone_is_refused() -> None:
    samples = data_files.samples([i % 10 for i in range(2000)])
    message = refusal(samples, Dirichlet(users=40, alpha=0.001))
    assert "alpha=0.001 leaves" in message
    assert "at most 10% may" in message
    assert "larger alpha, fewer users, or smaller min_images" in message


def test_iid_shares_are_equal_and_mixed() -> None:
    samples = data_files.samples([i // 100 for i in range(1000)])
    division = divide(samples, Iid(users=7))
    assert set(np.bincount(division.user)) == {142, 143}
    shares = np.stack([share(samples, division, u) for u in range(7)])
    assert shares.min() > 0


# Shards and sizes


def test_every_user_has_the_shards_of_few_classes() -> None:
    samples = data_files.samples([i % 10 for i in range(2000)])
    division = divide(samples, Shards(users=50, shards=2))
    shares = np.stack([share(samples, division, u) for u in range(50)])
    # 100 shards of 20 images, ten of each class: every shard is of one class.
    assert set(shares.ravel()) <= {0, 20, 40}
    assert (shares.sum(1) == 40).all()
    assert ((shares > 0).sum(1) <= 2).all()
    assert len({tuple(row) for row in shares > 0}) > 20
    one = divide(data_files.samples([i % 7 for i in range(1000)], 7), Shards(users=9, shards=3))
    assert np.ptp(np.bincount(one.user)) <= 3


def test_beta_sets_the_skew_of_sizes_and_classes_stay_mixed() -> None:
    samples = data_files.samples([i % 10 for i in range(4000)])

    def sizes(beta: float) -> np.ndarray:
        return np.bincount(divide(samples, Quantity(users=20, beta=beta)).user, minlength=20)

    assert sizes(0.5).std() > 2 * sizes(5).std() > 8 * sizes(1000).std()
    assert sizes(0.5).min() >= 10
    largest = int(sizes(0.5).argmax())
    shares = share(samples, divide(samples, Quantity(users=20)), largest)
    assert shares.min() > 0.6 * shares.mean()
