"""Means, paired differences and 95 % intervals over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: arithmetic mean.
        half_width: half the width of the 95 % interval; None with a single seed.
        n: number of seeds.
    """

    mean: float
    half_width: float | None
    n: int

    def share(self) -> tuple[float, float] | None:
        """The ends of the interval where the values are shares, cut to 0 and 1.

        The mean of shares lies there, so what is cut off holds nothing: the interval covers the
        mean as often as before.

        >>> Estimate(0.125, 0.25, 3).share()
        (0.0, 0.375)
        """
        if self.half_width is None:
            return None
        return max(self.mean - self.half_width, 0.0), min(self.mean + self.half_width, 1.0)


def estimate(by_seed: Mapping[int, float]) -> Estimate | None:
    """Mean and Student's t interval of one value a seed; None without values.

    ``mean ± t(0.975, n − 1) · s / √n`` with the sample standard deviation ``s`` (divisor
    ``n − 1``). Values are added in the order of seeds, so the result depends on no other order.

    >>> found = estimate({0: 0.7, 1: 0.8, 2: 0.9})
    >>> f"{found.mean:.3f} ± {found.half_width:.3f}, n = {found.n}"
    '0.800 ± 0.248, n = 3'
    """
    values = [by_seed[seed] for seed in sorted(by_seed)]
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Estimate(mean, quantile * deviation / math.sqrt(n), n)


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """``a − b`` seed by seed, over the seeds that both have."""
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}


def beyond_noise(by_seed: Mapping[int, float] | None) -> bool:
    """Whether the 95 % interval of a paired difference lies above 0."""
    found = estimate(by_seed) if by_seed else None
    return found is not None and found.mean - (found.half_width or 0) > 0


def mean(by_seed: Mapping[int, float]) -> float:
    """Over seeds."""
    return sum(by_seed.values()) / len(by_seed)
