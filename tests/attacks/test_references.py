"""Attacks against slow references, written from the papers' formulas, on cohorts that are drawn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.testing import craft

Rows = NDArray[np.float64]
FEW = settings(max_examples=25)
DIRECTIONS = st.sampled_from(["unit", "std", "sign"])


@st.composite
def cohorts(draw: st.DrawFn, can_repeat: bool = True) -> tuple[Rows, Rows]:
    """The compromised's and the honest's; half of them are of few values that repeat."""
    M, H, P = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if can_repeat and draw(st.booleans()):
        rows = source.integers(-2, 3, (M + H, P)).astype(float)
    else:
        rows = source.standard_normal((M + H, P)) + source.standard_normal(P)
    return rows[:M], rows[M:]


def check(name: str, cohort: tuple[Rows, Rows], expected: list[float], **parameters: Any) -> None:
    own, honest = cohort
    found = craft(name, torch.from_numpy(own), honest=torch.from_numpy(honest), **parameters)
    for row in found.tolist():
        assert row == pytest.approx(expected, rel=1e-8, abs=1e-8)


def mean_of(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def deviation_of(values: list[float], ddof: int) -> float:
    mean = mean_of(values)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / max(len(values) - ddof, 1))


def columns(rows: Rows) -> list[list[float]]:
    return [list(map(float, rows[:, p])) for p in range(rows.shape[1])]


def squared(a: Any, b: Any) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def sign(x: float) -> float:
    return float((x > 0) - (x < 0))


@FEW
@given(cohorts(), st.sampled_from([0, 1]), st.sampled_from(["minus", "plus"]), st.floats(0.1, 5))
def test_alie(cohort: tuple[Rows, Rows], ddof: int, way: str, z: float) -> None:
    factor = -z if way == "minus" else z
    expected = [mean_of(x) + factor * deviation_of(x, ddof) for x in columns(cohort[1])]
    check("alie", cohort, expected, ddof=ddof, sign=way, z=z)


@FEW
@given(cohorts(), st.floats(0.01, 100))
def test_ipm(cohort: tuple[Rows, Rows], epsilon: float) -> None:
    check("ipm", cohort, [-epsilon * mean_of(x) for x in columns(cohort[1])], epsilon=epsilon)


def farthest(rows: Rows, direction: str, is_allowed: Any) -> list[float]:
    """m at the largest γ that is allowed, by bisection."""
    mean = [mean_of(x) for x in columns(rows)]
    toward = {
        "unit": [-x / (math.hypot(*mean) or 1) for x in mean],
        "std": [-deviation_of(x, 1) for x in columns(rows)],
        "sign": [-sign(x) for x in mean],
    }[direction]

    def at(gamma: float) -> list[float]:
        return [m + gamma * p for m, p in zip(mean, toward, strict=True)]

    if not any(toward):
        return mean
    low, high = 0.0, 1.0
    while is_allowed(at(high)):
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if is_allowed(at(middle)) else (low, middle)
    return at(low)


@FEW
@given(cohorts(), DIRECTIONS)
def test_min_max(cohort: tuple[Rows, Rows], direction: str) -> None:
    rows = cohort[1]
    bound = max(squared(a, b) for a in rows for b in rows) * (1 + 1e-13)
    expected = farthest(rows, direction, lambda m: max(squared(m, x) for x in rows) <= bound)
    check("min_max", cohort, expected, direction=direction)


@FEW
@given(cohorts(), DIRECTIONS, st.sampled_from(["code", "text"]))
def test_min_sum(cohort: tuple[Rows, Rows], direction: str, reading: str) -> None:
    rows = cohort[1]
    sums = [math.fsum(squared(a, b) for b in rows) for a in rows]
    bound = (min(sums) if reading == "code" else max(sums)) * (1 + 1e-13)
    assume(bound > 0)
    expected = farthest(rows, direction, lambda m: math.fsum(squared(m, x) for x in rows) <= bound)
    own, honest = cohort
    found = craft("min_sum", torch.from_numpy(own), honest=torch.from_numpy(honest),
                  direction=direction, reading=reading)  # fmt: skip
    # Where the nearest update is the mean itself, the root of what is rounded is all there is.
    assert found[0].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-5)


@FEW
@given(cohorts())
def test_directed_deviation(cohort: tuple[Rows, Rows]) -> None:
    expected = []
    for values in columns(np.concatenate(cohort)):
        s = sign(math.fsum(values))
        x = min(values) if s > 0 else max(values)
        expected.append(0.0 if s == 0 else x / 2 if s * x > 0 else x * 2)
    check("fang", cohort, expected)


def krum(rows: list[Any], neighbors: int) -> int:
    """Who is picked: the first of the least sum of squared distances to its nearest others."""
    scores = [
        math.fsum(sorted(squared(a, b) for j, b in enumerate(rows) if j != i)[: max(neighbors, 1)])
        for i, a in enumerate(rows)
    ]
    return scores.index(min(scores))


@FEW
@given(cohorts(can_repeat=False))
def test_directed_deviation_against_krum(cohort: tuple[Rows, Rows]) -> None:
    own, honest = cohort
    M, H, P = len(own), len(honest), own.shape[1]
    signs = [sign(math.fsum(x)) for x in columns(np.concatenate(cohort))]
    sums = [
        math.fsum(sorted(squared(a, b) for j, b in enumerate(honest) if j != i)[: max(H - 2, 0)])
        for i, a in enumerate(honest)
    ]
    first = math.sqrt(min(sums) / (max(H - M - 1, 1) * P))
    scale = first + max(math.hypot(*x) for x in honest) / math.sqrt(P)
    while True:
        crafted = [-scale * s for s in signs]
        if krum([crafted] * M + list(honest), H - 2) < M or scale <= 1e-5:
            break
        scale /= 2
    check("fang", cohort, crafted, rule="krum")


@FEW
@given(cohorts(can_repeat=False))
def test_directed_deviation_against_krum_with_what_was_trained(cohort: tuple[Rows, Rows]) -> None:
    own, _ = cohort
    M = len(own)
    assume(M > 1)
    signs = [sign(mean_of(x)) for x in columns(own)]
    for copies in range(1, M):
        scale = 1.0
        while True:
            crafted = [-scale * s for s in signs]
            is_picked = krum(list(own) + [crafted] * copies, M - 2) >= M
            if is_picked or scale <= 2e-5:
                break
            scale /= 2
        if is_picked:
            break
    check("fang", cohort, crafted, rule="krum", known="partial")


@FEW
@given(st.lists(cohorts(can_repeat=False), min_size=1, max_size=3), st.integers(1, 3))
def test_mimic(rounds: list[tuple[Rows, Rows]], warmup: int) -> None:
    P = rounds[0][1].shape[1]
    assume(all(honest.shape[1] == P for _, honest in rounds))
    z = list(map(float, torch.randn(P, generator=torch.Generator().manual_seed(0))))
    m, target, expected = [0.0] * P, -1, []
    for t, (own, honest) in enumerate(rounds):
        users = list(range(len(own), len(own) + len(honest)))
        if t < warmup:
            m = [(t * a + mean_of(x)) / (1 + t) for a, x in zip(m, columns(honest), strict=True)]
            apart = [[x - a for x, a in zip(row, m, strict=True)] for row in honest]
            weights = [math.fsum(x * y for x, y in zip(row, z, strict=True)) for row in apart]
            pull = [
                math.fsum(w * d[p] for w, d in zip(weights, apart, strict=True)) for p in range(P)
            ]
            # One client of a single round is the mean: nothing pulls.
            if max(map(abs, pull)) > 0:
                z = [t * a + b / math.hypot(*pull) for a, b in zip(z, pull, strict=True)]
                z = [x / math.hypot(*z) for x in z]
        along = [math.fsum(x * y for x, y in zip(row, z, strict=True)) for row in honest]
        place = along.index(max(along))
        if t < warmup:
            target = users[place]
        elif target in users:
            place = users.index(target)
        expected = list(map(float, honest[place]))
    *earlier, (own, honest) = rounds
    told = [{"updates": torch.from_numpy(a), "honest": torch.from_numpy(b)} for a, b in earlier]
    check("mimic", (own, honest), expected, warmup=warmup, history=told)
