"""What is taken of a curve: one number for a run, None where the run has no such number."""

import math
import statistics
from collections.abc import Callable

from benchmark.results.curves import attacked, points
from benchmark.results.gates import succeeds
from benchmark.run.record import Record

Measure = Callable[[Record, str], float | None]

NO_BACKDOOR = 0.1
"""Below this there is no backdoor whose life could be measured."""


def final(record: Record, metric: str) -> float | None:
    """After the last round."""
    return _summary(record, metric, "final")


def last_fifth(record: Record, metric: str) -> float | None:
    """Mean over the last fifth of the rounds."""
    return _summary(record, metric, "last_fifth")


def cumulative_mean(record: Record, metric: str) -> float | None:
    """Mean over all rounds measured, which the paper's figures draw."""
    return _summary(record, metric, "cumulative_mean")


def sawtooth(record: Record, metric: str) -> float | None:
    """Mean after rounds with a compromised client minus mean just before them."""
    after = _summary(record, metric, "after_attack")
    before = _summary(record, metric, "before_attack")
    return None if after is None or before is None else after - before


def unsteadiness(record: Record, metric: str) -> float | None:
    """Standard deviation from round to round, over the second half of what was measured."""
    values = list(points(record, metric).values())
    values = values[len(values) // 2 :]
    return statistics.pstdev(values) if len(values) > 1 else None


def attacked_fifth(record: Record, metric: str) -> float | None:
    """Mean after the last fifth of the rounds that have a compromised client."""
    rounds = attacked(record)
    late = set(rounds[len(rounds) * 4 // 5 :])
    found = [v for r, v in points(record, metric).items() if r in late]
    return statistics.fmean(found) if found else None


def half_life(record: Record, metric: str) -> float | None:
    """Rounds from the last attacked one until the curve is at half of what it was after it.

    All rounds that are left where it never gets there, which is a lower bound. None where it was
    below ``NO_BACKDOOR``.
    """
    rounds, curve = attacked(record), points(record, metric)
    if not rounds or curve.get(rounds[-1], 0.0) < NO_BACKDOOR:
        return None
    stop = rounds[-1]
    later = {r: v for r, v in curve.items() if r > stop}
    fallen = next((r for r, v in later.items() if v <= curve[stop] / 2), max(curve) + 1)
    return float(fallen - stop)


def lifespan(record: Record, metric: str) -> float | None:
    """Rounds from the last attacked one for which the curve stays at ``SUCCESS`` or above.

    0 where it was not there when the attack ended; all rounds that are left where it never falls
    below, which is a lower bound. Measured in each round; None where that ends before the attack.
    """
    rounds, curve = attacked(record), points(record, metric)
    if not rounds or max(curve, default=-1) < rounds[-1]:
        return None
    stop = rounds[-1]
    fallen = (r for r, value in curve.items() if r >= stop and not succeeds(value))
    return float(next(fallen, max(curve) + 1) - stop)


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        *(final, last_fifth, cumulative_mean),
        *(sawtooth, unsteadiness, attacked_fifth, half_life, lifespan),
    )
}

LEVELS = {
    "final": "final",
    "last_fifth": "last_fifth",
    "cumulative_mean": "cumulative_mean",
    "attacked_fifth": "attacked_fifth",
    "sawtooth": "attacked_fifth",
    "unsteadiness": "attacked_fifth",
    "lifespan": "attacked_fifth",
}
"""Measure → the one that tells how high the curve was; a half-life brings its own limit."""


def _summary(record: Record, metric: str, field: str) -> float | None:
    summary = record.summary.get(metric)
    value = getattr(summary, field) if summary else None
    return value if value is not None and math.isfinite(value) else None
