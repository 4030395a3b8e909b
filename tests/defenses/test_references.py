"""Rules against slow references, written from the papers' formulas, on cohorts that are drawn."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.testing import aggregate

Rows = NDArray[np.float64]
FEW = settings(max_examples=25)


@st.composite
def cohorts(draw: st.DrawFn, least: int = 3, most: int = 11) -> tuple[Rows, int]:
    """Some updates and an f that leaves a majority; half of them are of few values that repeat."""
    shape = draw(st.integers(least, most)), draw(st.integers(1, 4))
    source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few = draw(st.booleans())
    rows = source.integers(-2, 3, shape).astype(float) if few else source.standard_normal(shape)
    return rows, draw(st.integers(0, (shape[0] - 1) // 2))


def check(name: str, rows: Rows, expected: Rows, **parameters: Any) -> None:
    found = aggregate(name, torch.from_numpy(rows), **parameters).update
    assert found.numpy() == pytest.approx(expected, rel=1e-10, abs=1e-10)


def columns(rows: Rows, reduce: Any) -> Rows:
    return np.array([reduce(sorted(rows[:, p])) for p in range(rows.shape[1])])


def median_of(ordered: list[float]) -> float:
    n = len(ordered)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


def trimmed_of(ordered: list[float], f: int) -> float:
    return math.fsum(ordered[f : len(ordered) - f]) / (len(ordered) - 2 * f)


def nearest_of(ordered: list[float], center: float, count: int) -> float:
    """Of two as near the smaller one, which is the one that comes first."""
    return math.fsum(sorted(ordered, key=lambda x: abs(x - center))[:count]) / count


def squared(a: Rows, b: Rows) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def krum_scores_of(rows: Rows, left: list[int], neighbors: int) -> dict[int, float]:
    return {
        i: math.fsum(sorted(squared(rows[i], rows[j]) for j in left if j != i)[:neighbors])
        for i in left
    }


def assume_apart(values: list[float]) -> None:
    """Where rounding decides, nothing is claimed."""
    ordered = sorted(values)
    assume(all(b - a > 1e-9 or a == b == 0 for a, b in itertools.pairwise(ordered)))


@FEW
@given(cohorts())
def test_median_and_trimmed_mean(cohort: tuple[Rows, int]) -> None:
    rows, f = cohort
    check("median", rows, columns(rows, median_of))
    expected = columns(rows, lambda x: trimmed_of(x, f))
    check("trimmed_mean", rows, expected, assumed_compromised=f)


@FEW
@given(cohorts())
def test_the_mean_around_the_median_and_phocas(cohort: tuple[Rows, int]) -> None:
    rows, f = cohort
    count = len(rows) - f
    around = columns(rows, lambda x: nearest_of(x, median_of(x), count))
    check("mean_around_median", rows, around, assumed_compromised=f)
    # A trimmed mean is rounded, and so are ties with it.
    assume(len(np.unique(rows)) == rows.size)
    phocas = columns(rows, lambda x: nearest_of(x, trimmed_of(x, f), count))
    check("mean_around_median", rows, phocas, assumed_compromised=f, around="trimmed_mean")


@FEW
@given(cohorts(), st.floats(0.1, 3), st.integers(1, 3))
def test_centered_clipping(cohort: tuple[Rows, int], radius: float, steps: int) -> None:
    rows, _ = cohort
    center = np.zeros(rows.shape[1])
    for _ in range(2 * steps):
        moved = np.zeros_like(center)
        for row in rows:
            length = math.sqrt(squared(row, center))
            moved += (row - center) * (min(1, radius / length) if length else 1)
        center = center + moved / len(rows)
    # In the second round it goes on from where it was.
    check("centered_clipping", rows, center, radius=radius, steps=steps, history=[rows])


@FEW
@given(cohorts())
def test_mixing_of_nearest_neighbors(cohort: tuple[Rows, int]) -> None:
    rows, f = cohort
    mixed = np.zeros_like(rows)
    for i, row in enumerate(rows):
        apart = [squared(row, other) for other in rows]
        apart[i] = -1
        assume_apart(apart)
        near = sorted(range(len(rows)), key=apart.__getitem__)[: len(rows) - f]
        mixed[i] = sum(rows[j] for j in near) / len(near)
    expected = columns(mixed, median_of)
    check("nnm", rows, expected, assumed_compromised=f, inner="median")


@FEW
@given(cohorts())
def test_adaptive_robust_clipping(cohort: tuple[Rows, int]) -> None:
    rows, f = cohort
    n = len(rows)
    lengths = [math.sqrt(squared(row, 0 * row)) for row in rows]
    bound = sorted(lengths)[n - 2 * f * (n - f) // n - 1]
    scale = [bound / e if e > bound else 1 for e in lengths]
    expected = sum(s * row for s, row in zip(scale, rows, strict=True)) / n
    check("arc", rows, expected, assumed_compromised=f, inner="mean")


@FEW
@given(cohorts())
def test_the_geometric_median_by_its_objective(cohort: tuple[Rows, int]) -> None:
    rows, _ = cohort

    def objective(point: Rows) -> float:
        return math.fsum(math.sqrt(squared(row, point)) for row in rows) / len(rows)

    found = aggregate("geometric_median", torch.from_numpy(rows)).update.numpy()
    least = objective(found)
    scale = objective(rows.mean(axis=0))
    # Smoothing costs at most ν, and the objective is convex: no point near is lower.
    source = np.random.default_rng(0)
    for _ in range(50):
        for step in (1e-4, 1e-2, 1):
            other = found + step * source.standard_normal(rows.shape[1])
            assert least <= objective(other) + 1e-6 * (1 + scale)
    assert all(least <= objective(row) + 1e-6 * (1 + scale) for row in rows)


@FEW
@given(cohorts(least=5), st.integers(0, 3))
def test_krum_and_multi_krum(cohort: tuple[Rows, int], m: int) -> None:
    rows, f = cohort
    n = len(rows)
    f = min(f, (n - 3) // 2)
    everybody = list(range(n))
    scores = krum_scores_of(rows, everybody, n - f - 2)
    assume_apart(list(scores.values()))
    ranked = sorted(everybody, key=scores.__getitem__)
    check("krum", rows, rows[ranked[0]], assumed_compromised=f)
    expected = rows[ranked[: m or n - f]].mean(axis=0)
    check("multi_krum", rows, expected, assumed_compromised=f, m=m)


def picked(rows: Rows, count: int, f: int) -> list[int]:
    """Winners of Krum, each taken out before the others are scored again."""
    left, chosen = list(range(len(rows))), list[int]()
    for _ in range(count):
        scores = krum_scores_of(rows, left, max(1, len(left) - f - 2))
        # Two that are each other's nearest tie when one neighbor counts: the first is taken.
        chosen.append(min(left, key=lambda i: (round(scores[i], 12), i)))
        left.remove(chosen[-1])
    return chosen


@FEW
@given(st.integers(0, 2), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_bulyan_and_iterative_multi_krum(f: int, more: int, P: int, seed: int) -> None:
    n = 4 * f + 3 + more
    rows = np.random.default_rng(seed).standard_normal((n, P))
    chosen = picked(rows, n - 2 * f, f)
    expected = columns(rows[chosen], lambda x: nearest_of(x, median_of(x), n - 4 * f))
    check("bulyan", rows, expected, assumed_compromised=f)
    if n > 2 * f + 2:
        taken = picked(rows, n - 2 * f - 2, f)
        expected = rows[taken].mean(axis=0)
        check("multi_krum", rows, expected, assumed_compromised=f, selection="iterative")
