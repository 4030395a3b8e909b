"""Holding out test images, stratified by class within a user."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.division import hold_out


@settings(max_examples=100, deadline=None)
@given(
    owners=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.99),
)
def test_held_out_images_are_stratified_by_class(
    owners: list[tuple[int, int]], fraction: float
) -> None:
    user, label = np.array(owners).T
    held = hold_out(user, label, fraction, np.random.default_rng(0))
    for u in np.unique(user):
        n = (user == u).sum()
        total = held[user == u].sum()
        assert total == (min(max(round(fraction * n), 1), n - 1) if n > 1 else 0)
        for c in np.unique(label[user == u]):
            of_class = (user == u) & (label == c)
            # Within one image of the exact share.
            assert n == 1 or abs(held[of_class].sum() - fraction * of_class.sum()) < 1


def test_five_images_of_each_class_hold_out_one_of_each() -> None:
    user, label = np.repeat([0, 1, 2], 50), np.tile(np.repeat(np.arange(10), 5), 3)
    held = hold_out(user, label, 0.2, np.random.default_rng(0))
    for u in range(3):
        assert np.bincount(label[held & (user == u)]).tolist() == [1] * 10


def test_which_images_are_held_out_is_drawn() -> None:
    user, label = np.zeros(100, int), np.zeros(100, int)
    first, second = (hold_out(user, label, 0.2, np.random.default_rng(s)) for s in (0, 1))
    assert first.sum() == second.sum() == 20
    assert (first != second).any()
    assert not first[:20].all()
