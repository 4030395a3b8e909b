"""A line in a few numbers: means over the last fifth of the rounds, with intervals over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.reproduction.evidence import Evidence, Line
from benchmark.results.gates import has_collapsed
from benchmark.results.measures import MEASURES
from benchmark.results.statistics import Estimate, estimate
from benchmark.run.record import Record


@dataclass(frozen=True)
class Score:
    """What a line's federations came to; None where no run measured it.

    Attributes:
        main: main accuracy.
        in_sample, held_out: backdoor accuracy; None where ``withheld``.
        cumulative: mean in-sample backdoor accuracy over all rounds; None where ``withheld``.
        withheld: why nothing is said of the backdoor; empty if it is.
        missing: number of seeds without a record.
    """

    main: Estimate | None
    in_sample: Estimate | None
    held_out: Estimate | None
    cumulative: Estimate | None
    withheld: str
    missing: int


def score(evidence: Evidence, line: Line) -> Score:
    """Score a line; that of a collapsed model says nothing about backdoors."""
    records = evidence.of(line)
    withheld = _withheld(records, evidence.main)
    if diverged := evidence.diverged(line):
        withheld = f"diverged in {diverged} of {len(line.cells)} seeds"

    def backdoor(metric: str, measure: str) -> Estimate | None:
        return None if withheld else estimate(by_seed(records, metric, measure))

    return Score(
        main=estimate(by_seed(records, "main_accuracy", "last_fifth")),
        in_sample=backdoor("backdoor_in_sample", "last_fifth"),
        held_out=backdoor("backdoor_held_out", "last_fifth"),
        cumulative=backdoor("backdoor_in_sample", "cumulative_mean"),
        withheld=withheld,
        missing=len(line.cells) - len(records),
    )


def by_seed(records: list[Record], metric: str, measure: str) -> Mapping[int, float]:
    """One number for each seed that has it."""
    found = {record.seed: MEASURES[measure](record, metric) for record in records}
    return {seed: value for seed, value in found.items() if value is not None}


def _withheld(records: list[Record], reference: float | None) -> str:
    if not records:
        return "missing"
    if reference is None:
        return "no reference"
    own = [MEASURES["last_fifth"](record, "main_accuracy") for record in records]
    collapsed = sum(has_collapsed(value, reference) for value in own)
    if collapsed in (0, len(own)):
        return "collapsed" if collapsed else ""
    return f"collapsed in {collapsed} of {len(own)} seeds"
