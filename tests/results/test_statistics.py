"""Means, paired differences and their intervals."""

import math

import pytest

from benchmark.results.statistics import Estimate, beyond_noise, difference, estimate


def test_interval_of_three_seeds_by_hand():
    # mean 0.2, sample standard deviation 0.1, t(0.975, 2) = 4.303
    found = estimate({0: 0.1, 1: 0.2, 2: 0.3})
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.n == 3


def test_interval_of_two_seeds_by_hand():
    # s = 0.2 / √2, so t · s / √2 = 12.706 · 0.1
    assert estimate({0: 0.4, 5: 0.6}).half_width == pytest.approx(1.2706205, rel=1e-6)


def test_one_seed_has_no_interval_and_none_no_estimate():
    assert estimate({7: 0.3}) == Estimate(0.3, None, 1)
    assert estimate({}) is None


def test_differences_pair_by_seed():
    assert difference({0: 0.9, 1: 0.8, 2: 0.5}, {1: 0.1, 0: 0.2, 3: 0.0}) == pytest.approx(
        {0: 0.7, 1: 0.7}
    )


@pytest.mark.parametrize(
    ("gain", "is_beyond"),
    [
        # 0.2 ± 0.127 and 0.2 ± 0.254
        ({0: 0.19, 1: 0.21}, True),
        ({0: 0.18, 1: 0.22}, False),
        ({0: -0.19, 1: -0.21}, False),
        ({0: 0.1}, True),
        ({}, False),
        (None, False),
    ],
)
def test_a_gain_is_beyond_noise_where_its_interval_lies_above_0(gain, is_beyond):
    assert beyond_noise(gain) is is_beyond
