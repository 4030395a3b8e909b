"""What is undominated: better than any other in something, or as good in all."""

from collections.abc import Sequence

from benchmark.tuning.problem import Direction, Tried


def undominated(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[bool]:
    """For each point whether no other is at least as good in all and better in something.

    Args:
        points: values, one for each direction.
        directions: what is better.
    """
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    signed = [[s * x for s, x in zip(signs, point, strict=True)] for point in points]
    return [not any(_dominates(q, p) for q in signed) for p in signed]


def _dominates(q: Sequence[float], p: Sequence[float]) -> bool:
    return q != p and all(a <= b for a, b in zip(q, p, strict=True))


def front(tried: Sequence[Tried], directions: Sequence[Direction]) -> list[Tried]:
    """The undominated feasible trials, each setting once, by their first value."""
    kept: dict[tuple[str, ...], Tried] = {}
    for trial in tried:
        if trial.feasible:
            kept.setdefault(trial.overrides, trial)
    trials = list(kept.values())
    flags = undominated([t.outcome.values for t in trials], directions)
    found = [t for t, flag in zip(trials, flags, strict=True) if flag]
    return sorted(found, key=lambda t: (t.outcome.values, t.number))


def spread(found: Sequence[Tried], count: int) -> list[Tried]:
    """At most ``count`` points of a front, evenly along it, both ends first of all."""
    last = len(found) - 1
    if count >= len(found):
        return list(found)
    if count == 1:
        return [found[0]]
    return [found[round(i * last / (count - 1))] for i in range(count)]
