"""The lines of a suite's figure: what each is called, and what its runs came to."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.report import naming
from benchmark.report.naming import as_number, varying
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.results.gates import has_collapsed
from benchmark.results.settings import UNATTACKED
from benchmark.results.statistics import Estimate, estimate
from benchmark.results.table import DIVERGED, MISSING, by_seed, known
from benchmark.run.record import Configuration, Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labeled:
    """A line of a figure.

    Attributes:
        choices: ``{"attack": "none"}`` for the choice ``attack=none``.
        records: those that are there, by seed.
        runs: a row for each seed, see :mod:`benchmark.results.table`.
        withheld: why nothing is said of the backdoor; empty if it is.
        config: of some run; None where all are missing.
        column: heading of the panels that it is drawn in; empty where there is one column.
        label: its name among the lines of its column.
        name: its name in the suite.
        ordered: whether it lies on an axis of numbers, such as f or M.
    """

    choices: dict[str, str]
    records: list[Record]
    runs: "pd.DataFrame"
    withheld: str
    config: Configuration | None
    column: str = ""
    label: str = ""
    name: str = ""
    ordered: bool = False

    @property
    def is_attacked(self) -> bool:
        """Whether somebody is compromised in it."""
        return self.choices.get("attack") != UNATTACKED

    @property
    def window(self) -> list[int] | None:
        """The rounds that the attack was confined to, from the first to before the last."""
        return self.config["participation"].get("window") if self.config else None

    @property
    def missing(self) -> int:
        """Number of seeds that gave nothing."""
        return int((self.runs["status"] == MISSING).sum())

    def mean(self, metric: str, measure: str = "last_fifth") -> Estimate | None:
        """Over seeds; None where no run measured it, and of a backdoor that is ``withheld``."""
        if self.withheld and metric.startswith("backdoor"):
            return None
        return estimate(by_seed(self.runs, metric, measure))


def labeled(evidence: Evidence, suite: str) -> list[Labeled]:
    """The lines of a suite's figure, each with its name."""
    lines = [_plain(evidence, line) for line in evidence.lines[suite]]
    varied = varying([line.choices for line in lines])
    found = []
    for line in lines:
        parts = list(naming.parts(line.choices, varied).values()) or [_in_full(line)]
        column, label = "", parts
        if "participation" in varied:
            column = naming.title("participation", line.choices.get("participation", ""))
        elif len(parts) > 1:
            column, *label = parts
        line = replace(line, column=column, label=", ".join(label), name=", ".join(parts))
        found.append(line)
    return [replace(each, ordered=_is_ordered(each, found)) for each in found]


def _plain(evidence: Evidence, line: Line) -> Labeled:
    """A line that has no name yet."""
    choices = {key: value for key, _, value in (choice.partition("=") for choice in line.choices)}
    runs = evidence.runs.loc[line.cells]
    found = (evidence.records.get(cell) or evidence.failures.get(cell) for cell in line.cells)
    config = next((run.config for run in found if run), None)
    return Labeled(choices, evidence.of(line), runs, _withheld(runs, evidence.main), config)


def _withheld(runs: "pd.DataFrame", reference: float | None) -> str:
    there = runs[runs["status"] != MISSING]
    if there.empty:
        return "missing"
    if reference is None:
        return "no reference"
    own = map(known, there["main_accuracy.last_fifth"])
    for word, count in (
        ("diverged", int((there["status"] == DIVERGED).sum())),
        ("collapsed", sum(has_collapsed(value, reference) for value in own)),
    ):
        if count:
            return word if count == len(there) else f"{word} in {count} of {len(there)} seeds"
    return ""


def _in_full(line: Labeled) -> str:
    """The name of a line that is alone in its suite."""
    if line.config is None:
        return ", ".join(f"{k}={v}" for k, v in line.choices.items()) or "all"
    return ", ".join(naming.in_full(g, line.config[g]) for g in ("attack", "defense"))


def _is_ordered(each: Labeled, all_of_them: list[Labeled]) -> bool:
    """Whether one number tells the lines of its column apart."""
    column = [other.choices for other in all_of_them if other.column == each.column]
    keys = varying(column)
    values = [chosen.get(key, "") for chosen in column for key in keys]
    return len(keys) == 1 and None not in map(as_number, values)
