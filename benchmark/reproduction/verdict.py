"""From runs to a verdict on a claim."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmark.reproduction.claim import OWN, Claim, Runs
from benchmark.results.gates import FLOOR, has_collapsed
from benchmark.results.measures import LEVELS
from benchmark.results.statistics import Estimate, difference, estimate, mean
from benchmark.results.table import DIVERGED, FINISHED, MISSING, fitting, known

if TYPE_CHECKING:
    import pandas as pd

MAIN = "main_accuracy.last_fifth"
Word = Literal["holds", "does not hold", "undecided", "not decidable"]
State = Literal["", "missing", "collapsed", "diverged"]
Side = tuple[dict[int, float], float | None]
"""One number for each seed, and how strong its backdoor was, where it is about one."""


class UndecidableError(Exception):
    """Runs that a claim needs are missing or mean nothing; says which."""

    def __init__(self, why: str, state: State = "missing"):
        super().__init__(why)
        self.state = state


@dataclass(frozen=True)
class Comparison:
    """One entry of a claim's order with the next.

    Attributes:
        word: ``holds``: the 95 % interval of the effect lies beyond the margin; ``does not hold``:
            it lies short of it; ``undecided``: it spans the margin, or a single seed has none;
            ``not decidable``: neither side has a backdoor of the margin or of ``FLOOR``, so that
            runs could not have said anything else.
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
        word: ``does not hold`` if one comparison does not, else ``not decidable`` or ``undecided``
            if one is, else ``holds``; ``not decidable`` where runs are missing or mean nothing.
        comparisons: none where runs are missing or mean nothing.
        why: it is not decidable; else empty.
        state: of the runs that mean nothing; else empty.
    """

    claim: Claim
    word: Word
    comparisons: tuple[Comparison, ...] = ()
    why: str = ""
    state: State = ""


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
            diverged reads nothing right, so its main accuracy is 0; its backdoor is no success,
            and nothing is said of it.
        seeds: those that every run must be there for.
        main: main accuracy without attack and defense, mean over seeds. A run whose main accuracy
            is below ``COLLAPSE`` times that says nothing about backdoors; None where unknown, and
            then no claim on a backdoor can be decided.
    """
    try:
        sides = [_side(claim, entry, table, seeds, main) for entry in claim.order]
    except UndecidableError as error:
        return Verdict(claim, "not decidable", why=str(error), state=error.state)
    found = tuple(_compare(claim, one, other) for one, other in itertools.pairwise(sides))
    word = weakest(comparison.word for comparison in found)
    least = 100 * max(FLOOR, claim.margin)
    why = f"no backdoor of {least:g} % on either side, so that nothing could differ"
    return Verdict(claim, word, found, why if word == "not decidable" else "")


def weakest(words: Iterable[Word]) -> Word:
    """What several verdicts come to; all hold where there are none."""
    order: tuple[Word, ...] = ("does not hold", "not decidable", "undecided", "holds")
    return min(words, key=order.index, default="holds")


def _compare(claim: Claim, one: Side, other: Side) -> Comparison:
    means = estimate(one[0]), estimate(other[0])
    effect = estimate(difference(one[0], other[0]))
    assert means[0]
    assert means[1]
    assert effect
    least = max(FLOOR, claim.margin)
    is_on_floor = all(level is not None and level < least for _, level in (one, other))
    return Comparison(
        "not decidable" if is_on_floor else _word(claim, effect), means[0], means[1], effect
    )


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
) -> Side:
    if not isinstance(entry, dict):
        return dict.fromkeys(seeds, float(entry)), float(entry)
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
    levels = []
    measure, level_of = wanted["measure"], f"{wanted['metric']}.{LEVELS.get(wanted['measure'])}"
    # Rows of all columns would take seconds.
    asked = ["cell", "seed", "status", "reason", MAIN, f"{wanted['metric']}.{measure}", level_of]
    told = found[found.columns.intersection(asked)]
    for row in told.sort_values("seed", kind="stable").to_dict("records"):
        if row["seed"] in values:
            values[row["seed"]].append(_value(row, wanted, main))
            levels.append(known(row.get(level_of)))
    level = None
    if wanted["metric"].startswith("backdoor") and None not in levels:
        level = sum(levels) / len(levels)
    return {seed: mean(dict(enumerate(each))) for seed, each in values.items()}, level


def _value(row: dict[Any, Any], wanted: Runs, main: float | None) -> float:
    metric = wanted["metric"]
    if row["status"] == DIVERGED and metric == "main_accuracy":
        return 0.0
    if row["status"] == DIVERGED:
        why = f"diverged in {row['reason']}; that is no success of a backdoor"
        raise UndecidableError(f"{_shown(wanted)}: seed {row['seed']} {why}", "diverged")
    if row["status"] != FINISHED:
        raise UndecidableError(f"{_shown(wanted)}: seed {row['seed']} ended in {row['reason']}")
    if metric.startswith("backdoor"):
        own = known(row.get(MAIN))
        if main is None:
            raise UndecidableError("no main accuracy without attack and defense to compare with")
        if has_collapsed(own, main):
            why = f"the model of {row['cell']} collapsed: its backdoor means nothing"
            raise UndecidableError(why, "collapsed")
    value = known(row.get(f"{metric}.{wanted['measure']}"))
    if value is None:
        raise UndecidableError(f"{row['cell']} has no {wanted['measure']} of {metric}")
    return value


def _shown(wanted: Runs) -> str:
    return " ".join(f"{k}={v}" for k, v in wanted.items() if k not in ("metric", "measure"))
