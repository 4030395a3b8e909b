"""From runs to a verdict on a claim."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmark.reproduction.claim import OWN, Claim, Runs
from benchmark.results.gates import has_collapsed
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.results.table import DIVERGED, FINISHED, MISSING, fitting, known

if TYPE_CHECKING:
    import pandas as pd

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
    table: "pd.DataFrame",
    seeds: Sequence[int],
    main: float | None,
) -> Verdict:
    """Compare the runs that a claim names.

    Args:
        claim: what is said.
        table: of runs, see :mod:`benchmark.results.table`, with the ``suite`` of each. A model that
            diverged reads nothing right, so its main accuracy is 0; of its backdoor nothing is
            said.
        seeds: those that every run must be there for.
        main: main accuracy without attack and defense, mean over seeds. A run whose main accuracy
            is below ``COLLAPSE`` times that says nothing about backdoors; None where unknown, and
            then no claim on a backdoor can be decided.
    """
    try:
        sides = [_side(claim, entry, table, seeds, main) for entry in claim.order]
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
    table: "pd.DataFrame",
    seeds: Sequence[int],
    main: float | None,
) -> dict[int, float]:
    """One number for each seed."""
    if not isinstance(entry, dict):
        return dict.fromkeys(seeds, float(entry))
    wanted = claim.runs(entry)
    suite = table[table["suite"] == wanted["suite"]]
    # A run that is missing for no reason was not made yet.
    tried = suite[(suite["status"] != MISSING) | suite["reason"].notna()]
    found = fitting(tried, {key: value for key, value in wanted.items() if key not in OWN})
    if lacking := [seed for seed in seeds if seed not in set(found["seed"])]:
        raise UndecidableError(f"{_shown(wanted)}: no run of seed {', '.join(map(str, lacking))}")
    if claim.pool and len(tried) < len(suite):
        raise UndecidableError(f"suite {wanted['suite']} is not complete")
    if not claim.pool and len(found) > len(seeds):
        raise UndecidableError(f"{_shown(wanted)}: fits several runs of a seed")
    values: dict[int, list[float]] = {seed: [] for seed in seeds}
    for row in found.sort_values("seed", kind="stable").to_dict("records"):
        if row["seed"] in values:
            values[row["seed"]].append(_value(row, wanted, main))
    return {seed: sum(each) / len(each) for seed, each in values.items()}


def _value(row: dict[Any, Any], wanted: Runs, main: float | None) -> float:
    metric = wanted["metric"]
    if row["status"] != FINISHED:
        if row["status"] == DIVERGED and metric == "main_accuracy":
            return 0.0
        raise UndecidableError(f"{_shown(wanted)}: seed {row['seed']} ended in {row['reason']}")
    if metric.startswith("backdoor"):
        own = known(row.get("main_accuracy.last_fifth"))
        if main is None:
            raise UndecidableError("no main accuracy without attack and defense to compare with")
        if has_collapsed(own, main):
            raise UndecidableError(
                f"the model of {row['cell']} collapsed: its backdoor means nothing"
            )
    value = known(row.get(f"{metric}.{wanted['measure']}"))
    if value is None:
        raise UndecidableError(f"{row['cell']} has no {wanted['measure']} of {metric}")
    return value


def _shown(wanted: Runs) -> str:
    chosen = [f"{k}={v}" for k, v in wanted.items() if k not in ("metric", "measure")]
    return " ".join(chosen)
