"""Curves of runs, by hand."""

import pytest

from benchmark.results.curves import attacked, gathered, over_seeds, points, so_far
from benchmark.run.record import Curve
from tests.support.measured import record


def test_points_are_the_finite_ones_and_none_of_an_unknown_metric():
    run = record(0, [0.5])
    run.curves["loss"] = Curve([0, 2, 4, 6], [1.0, float("nan"), None, 3.0])  # type: ignore[list-item]
    assert points(run, "loss") == {0: 1.0, 6: 3.0}
    assert points(run, "unknown") == {}


def test_attacked_rounds_have_a_compromised_client():
    assert attacked(record(0, [0.1] * 5, attacked=[1, 3])) == [1, 3]


def test_over_seeds_gathers_every_run_by_round():
    runs = [record(0, [0.1, 0.2]), record(1, [0.3, float("nan"), 0.5])]
    assert over_seeds(runs, "backdoor_in_sample") == {0: [0.1, 0.3], 1: [0.2], 2: [0.5]}
    assert list(gathered([{4: 1.0}, {2: 2.0}])) == [2, 4]


def test_so_far_is_the_running_mean():
    assert so_far({0: 0.0, 2: 1.0, 5: 0.5}) == pytest.approx({0: 0.0, 2: 0.5, 5: 0.5})
