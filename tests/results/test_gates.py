"""Every threshold, on both sides."""

import pytest

from benchmark.results import gates
from benchmark.results.statistics import estimate


@pytest.mark.parametrize(("main", "has_collapsed"), [(0.449, True), (0.451, False), (None, True)])
def test_a_model_collapses_at_half_the_reference(main, has_collapsed):
    assert gates.has_collapsed(main, 0.9) is has_collapsed


@pytest.mark.parametrize(
    ("loss", "outcome"),
    [
        # 0.03 ± 0.0127, 0.045 ± 0.0127, 0.055 ± 0.0127 and 0.07 ± 0.0127
        ({0: 0.029, 1: 0.031}, "passed"),
        ({0: 0.044, 1: 0.046}, "at the gate"),
        ({0: 0.054, 1: 0.056}, "at the gate"),
        ({0: 0.069, 1: 0.071}, "failed"),
        ({0: 0.05, 1: 0.05}, "passed"),
        ({0: 0.0}, "at the gate"),
        ({0: 0.9}, "at the gate"),
        ({}, "at the gate"),
    ],
)
def test_a_loss_passes_or_fails_the_gate_by_its_whole_interval(loss, outcome):
    assert gates.gate(estimate(loss)) == outcome


def test_an_attack_succeeds_from_a_half_on_and_a_mean_beyond_two_points_exceeds_them():
    assert [gates.succeeds(value) for value in (0.4999, 0.5)] == [False, True]
    assert [gates.exceeds({0: 0.01, 1: cost}, 0.02) for cost in (0.029, 0.031)] == [False, True]
