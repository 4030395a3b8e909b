"""Curves of runs: the finite points of one, several over seeds, and the mean so far."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import accumulate

from benchmark.run.record import Curve, Record


def points(record: Record, metric: str) -> dict[int, float]:
    """Round → value, of what is finite: a collapsed model may have measured nothing."""
    curve = record.curves.get(metric, Curve())
    pairs = zip(curve.rounds, curve.values, strict=True)
    return {r: v for r, v in pairs if v is not None and math.isfinite(v)}


def attacked(record: Record) -> list[int]:
    """The rounds with a compromised client."""
    return [r for r, count in points(record, "num_compromised").items() if count > 0]


def over_seeds(records: Iterable[Record], metric: str) -> dict[int, list[float]]:
    """Round → one value a run."""
    return gathered(points(record, metric) for record in records)


def gathered(curves: Iterable[Mapping[int, float]]) -> dict[int, list[float]]:
    """Round → one value a curve, by round."""
    found: dict[int, list[float]] = defaultdict(list)
    for curve in curves:
        for at, value in curve.items():
            found[at].append(value)
    return dict(sorted(found.items()))


def so_far(curve: Mapping[int, float]) -> dict[int, float]:
    """The mean of all rounds so far, as the paper's figures draw it."""
    totals = accumulate(curve.values())
    return {r: total / n for n, (r, total) in enumerate(zip(curve, totals, strict=True), start=1)}
