"""Numbers as readers see them."""

import pytest

from benchmark.report.numbers import NOTHING, interval
from benchmark.results.statistics import Estimate


@pytest.mark.parametrize(
    ("mean", "half_width", "signed", "shown"),
    [
        (0.93, 0.041, False, "93.0 ± 4.1"),
        (0.049, 0.105, False, f"4.9 (0{NOTHING}15.4)"),
        (0.98, 0.039, False, f"98.0 (94.1{NOTHING}100)"),
        (0.4, 0.7, False, f"40.0 (0{NOTHING}100)"),
        (0.02, 0.02, False, "2.0 ± 2.0"),
        (0.049, 0.105, True, "+4.9 ± 10.5"),
        (0.3, None, False, "30.0"),
    ],
)
def test_an_interval_of_shares_stays_within_0_to_100(mean, half_width, signed, shown):
    assert interval(Estimate(mean, half_width, 3), signed) == shown
