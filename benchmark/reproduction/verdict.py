"""From runs to a verdict on a claim."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.reproduction.claim import Claim, Failure, Runs, matches
from benchmark.results.gates import COLLAPSE
from benchmark.results.measures import MEASURES
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.run.record import Record

Word = Literal["holds", "does not hold", "undecided", "not decidable"]


class UndecidableError(Exception):
    """Runs that a claim needs are missing or mean nothing; says which."""


@dataclass(frozen=True)
class Comparison:
    """One entry of a claim's order with the next.

    Attributes:
        word: ``holds``: the 95 % interval of the effect lies beyond the margin; ``does not hold``:
            it lies short of it; ``undecided``: it spans the margin, or a single seed has none.
        one, other: mean of each side over seeds.
        effect: ``one − other``, paired by seed.
    """

    word: Word
    one: Estimate
    other: Estimate
    effect: Estimate


@dataclass(frozen=True)
class Verdict:
    """What runs say of a claim.

    Attributes:
        claim: what was said.
        word: ``holds`` if all comparisons do, ``does not hold`` if one does not, else
            ``undecided``; ``not decidable`` where runs are missing or collapsed.
        comparisons: none where not decidable.
        why: what is missing or collapsed; else empty.
    """

    claim: Claim
    word: Word
    comparisons: tuple[Comparison, ...] = ()
    why: str = ""


def judge(
    claim: Claim,
    runs: Mapping[str, Sequence[Record | Failure | None]],
    seeds: Sequence[int],
    main: float | None,
) -> Verdict:
    """Compare the runs that a claim names.

    Args:
        claim: what is said.
        runs: suite → its records, or why there is none; None for each that was not run. A model
            that diverged reads nothing right, so its main accuracy is 0; of its backdoor nothing
            is said.
        seeds: those that every run must be there for.
        main: main accuracy without attack and defense, mean over seeds. A run whose main accuracy
            is below ``COLLAPSE`` times that says nothing about backdoors; None where unknown, and
            then no claim on a backdoor can be decided.
    """
    try:
        sides = [_side(claim, entry, runs, seeds, main) for entry in claim.order]
    except UndecidableError as error:
        return Verdict(claim, "not decidable", why=str(error))
    found = tuple(_compare(claim, one, other) for one, other in itertools.pairwise(sides))
    words = {comparison.word for comparison in found}
    for word in ("does not hold", "undecided"):
        if word in words:
            return Verdict(claim, word, found)
    return Verdict(claim, "holds", found)


def _compare(claim: Claim, one: dict[int, float], other: dict[int, float]) -> Comparison:
    means = estimate(one), estimate(other)
    effect = estimate(difference(one, other))
    assert means[0]
    assert means[1]
    assert effect
    return Comparison(_word(claim, effect), means[0], means[1], effect)


def _word(claim: Claim, effect: Estimate) -> Word:
    if effect.half_width is None:
        return "undecided"
    low, high = effect.mean - effect.half_width, effect.mean + effect.half_width
    if claim.direction == "lower":
        low, high = -high, -low
    if claim.direction == "same":
        if -claim.margin < low and high < claim.margin:
            return "holds"
        return "does not hold" if low >= claim.margin or high <= -claim.margin else "undecided"
    if low > claim.margin:
        return "holds"
    return "does not hold" if high <= claim.margin else "undecided"


def _side(
    claim: Claim,
    entry: Runs | float,
    runs: Mapping[str, Sequence[Record | Failure | None]],
    seeds: Sequence[int],
    main: float | None,
) -> dict[int, float]:
    """One number for each seed."""
    if not isinstance(entry, dict):
        return dict.fromkeys(seeds, float(entry))
    wanted = claim.runs(entry)
    suite = runs.get(wanted["suite"], ())
    fitting = [record for record in suite if record is not None and matches(record, wanted)]
    by_seed = {seed: [r for r in fitting if r.seed == seed] for seed in seeds}
    if lacking := [seed for seed, found in by_seed.items() if not found]:
        raise UndecidableError(f"{_shown(wanted)}: no run of seed {', '.join(map(str, lacking))}")
    if claim.pool and None in suite:
        raise UndecidableError(f"suite {wanted['suite']} is not complete")
    if not claim.pool and len(fitting) > len(seeds):
        raise UndecidableError(f"{_shown(wanted)}: fits several runs of a seed")
    return {
        seed: sum(_value(r, wanted, main) for r in found) / len(found)
        for seed, found in by_seed.items()
    }


def _value(record: Record | Failure, wanted: Runs, main: float | None) -> float:
    metric = wanted["metric"]
    if isinstance(record, Failure):
        if record.diverged and metric == "main_accuracy":
            return 0.0
        raise UndecidableError(f"{_shown(wanted)}: seed {record.seed} ended in {record.reason}")
    if metric.startswith("backdoor"):
        own = MEASURES["last_fifth"](record, "main_accuracy")
        if main is None:
            raise UndecidableError("no main accuracy without attack and defense to compare with")
        if own is None or own < COLLAPSE * main:
            raise UndecidableError(
                f"the model of {record.cell} collapsed: its backdoor means nothing"
            )
    value = MEASURES[wanted["measure"]](record, metric)
    if value is None:
        raise UndecidableError(f"{record.cell} has no {wanted['measure']} of {metric}")
    return value


def _shown(wanted: Runs) -> str:
    chosen = [f"{k}={v}" for k, v in wanted.items() if k not in ("metric", "measure")]
    return " ".join(chosen)
