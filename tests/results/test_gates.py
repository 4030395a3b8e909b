"""Every threshold, on both sides."""

import pytest

from benchmark.results import gates


@pytest.mark.parametrize(("main", "is_below"), [(0.8499, True), (0.8501, False), (None, False)])
def test_the_gate_is_five_points_below_the_reference(main, is_below):
    assert gates.floor(0.9) == pytest.approx(0.85)
    assert gates.is_below_gate(main, 0.9) is is_below


@pytest.mark.parametrize(("main", "has_collapsed"), [(0.449, True), (0.451, False), (None, True)])
def test_a_model_collapses_at_half_the_reference(main, has_collapsed):
    assert gates.has_collapsed(main, 0.9) is has_collapsed


def test_an_attack_succeeds_above_a_half_and_is_noticed_above_two_points():
    assert [gates.succeeds(value) for value in (0.5, 0.51)] == [False, True]
    assert [gates.is_noticed(cost) for cost in (0.02, 0.021)] == [False, True]
