"""What is taken of a curve, by hand."""

import pytest

from benchmark.results.measures import MEASURES
from benchmark.run.curve import Curve
from tests.support.measured import record

# The rounds attacked are 1 and 3; the curve stands at 0.8 after the last of them.
CURVE = [0.0, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1]


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("final", 0.1),
        ("last_fifth", 0.25),
        ("cumulative_mean", 2.6 / 7),
        ("sawtooth", 0.7 - 0.1),
        ("attacked_fifth", 0.8),
        ("half_life", 2.0),
        ("lifespan", 2.0),
        ("unsteadiness", 0.25),
    ],
)
def test_measures_by_hand(measure: str, value: float):
    run = record(0, CURVE, attacked=[1, 3])
    assert MEASURES[measure](run, "backdoor_in_sample") == pytest.approx(value)
    assert MEASURES[measure](run, "unknown") is None


def test_a_lifespan_is_0_of_what_was_never_there_and_all_that_is_left_of_what_never_fell():
    lifespan = MEASURES["lifespan"]
    assert lifespan(record(0, [0.9] * 6, attacked=[1]), "backdoor_in_sample") == 5
    assert lifespan(record(0, [0.9, 0.4, 0.9], attacked=[1]), "backdoor_in_sample") == 0
    assert lifespan(record(0, [0.9, 0.5, 0.4, 0.9], attacked=[1]), "backdoor_in_sample") == 1
    assert lifespan(record(0, [0.9] * 6, attacked=[]), "backdoor_in_sample") is None
    rarely = record(0, [0.9] * 5, attacked=[4])
    rarely.curves["backdoor_in_sample"] = Curve([0, 2], [0.9, 0.9])
    assert lifespan(rarely, "backdoor_in_sample") is None


def test_half_life_of_what_never_fades_and_of_what_never_was():
    half_life = MEASURES["half_life"]
    assert half_life(record(0, [0.9] * 6, attacked=[1]), "backdoor_in_sample") == 5
    assert half_life(record(0, [0.09] * 6, attacked=[1]), "backdoor_in_sample") is None
    assert half_life(record(0, [0.9] * 6, attacked=[]), "backdoor_in_sample") is None
