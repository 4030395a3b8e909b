"""All that the paper's experiments gave at one scale: what a report is built from."""

import gzip
import json
import zlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark.config.plugins import available
from benchmark.config.schema import VERSION, Check, Schema
from benchmark.reproduction.claim import Claim
from benchmark.reproduction.profile import HONEST, Values
from benchmark.reproduction.verdict import Verdict, judge
from benchmark.results.statistics import mean
from benchmark.results.table import DIVERGED, FINISHED, MISSING, by_seed, no_record, runs
from benchmark.run.record import Configuration, Record
from benchmark.utils.errors import UserError, one_line, program
from benchmark.utils.files import atomic_file, gunzip

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
REFUSAL = "not the evidence of a reproduction"


def _own(records: dict[str, Record]) -> None:
    for name, record in records.items():
        if record.cell != name:
            raise ValueError(f"has {record.cell} under the name of {name}")


@dataclass(frozen=True)
class Failure:
    """Why a federation gave no record.

    Attributes:
        seed, config: as a record has them.
        reason: one line.
    """

    seed: int
    config: Configuration
    reason: str


@dataclass(frozen=True)
class Line:
    """One point of a suite's grid: what its federations have in common.

    Attributes:
        choices: what the axes chose, as overrides.
        cells: ids, in the order of the seeds.
    """

    choices: list[str]
    cells: list[str]


@dataclass(frozen=True)
class Evidence:
    """The records of a reproduction, and what they are records of.

    Attributes:
        profile, description: the scale.
        command: makes the records.
        date: when they were gathered.
        unit: how long a norm is that the paper's model calls 1.
        values: what names such as ``$M3`` stand for.
        seeds: of every line.
        descriptions: suite → one line.
        lines: suite → its lines.
        records: by cell; a cell without one is missing.
        failures: of cells that gave no record.
    """

    profile: str
    description: str
    command: str
    date: str
    unit: float
    values: Values
    seeds: list[int]
    descriptions: dict[str, str]
    lines: dict[str, list[Line]]
    records: Annotated[dict[str, Record], Check(_own)]
    failures: dict[str, Failure]
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """A row for each federation, by cell; see :mod:`benchmark.results.table`."""
        cells = {
            cell: seed
            for lines in self.lines.values()
            for line in lines
            for cell, seed in zip(line.cells, self.seeds, strict=False)
        }
        absent = []
        for cell in sorted(cells.keys() - self.records.keys()):
            why = self.failures.get(cell)
            facts = (why.seed, why.reason, why.config) if why else (cells[cell],)
            absent.append(no_record(cell, *facts))
        return runs(self.records.values(), absent).set_index("cell", drop=False)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The rows of each suite, which stands in a column of its own."""
        places = [(s, c) for s, lines in self.lines.items() for line in lines for c in line.cells]
        return self.runs.loc[[cell for _, cell in places]].assign(suite=[s for s, _ in places])

    def of(self, line: Line) -> list[Record]:
        """The records of a line that are there, by seed."""
        return [self.records[cell] for cell in line.cells if cell in self.records]

    @property
    def missing(self) -> list[str]:
        """Federations that gave nothing; one that diverged gave that."""
        return list(self.runs.index[self.runs["status"] == MISSING])

    @property
    def diverged(self) -> list[str]:
        """Federations whose model did not stay finite."""
        return list(self.runs.index[self.runs["status"] == DIVERGED])

    @cached_property
    def main(self) -> float | None:
        """Main accuracy over the last fifth of the rounds without attack and defense."""
        honest = self.table[(self.table["suite"] == HONEST) & (self.table["status"] == FINISHED)]
        found = by_seed(honest, "main_accuracy", "last_fifth")
        return mean(found) if found else None

    def verdicts(self) -> list[Verdict]:
        """On the claims of ``conf/claim`` on suites that were run, in the order of their names.

        Raises:
            UserError: a file there is no claim.
        """
        return [
            judge(claim, self.table, self.seeds, self.main)
            for claim in claims(self.values)
            if claim.suites <= self.lines.keys()
        ]

    def write(self, path: Path) -> None:
        """Write as compressed JSON: the same bytes for the same evidence."""
        # The version goes first, as a reader expects it.
        text = json.dumps({VERSION: SCHEMA_VERSION, **asdict(self)}, ensure_ascii=False)
        with atomic_file(path) as temporary:
            # Without the time, which a gzip archive has by default.
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))

    @staticmethod
    def read(path: Path) -> "Evidence":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing or is no evidence.
        """
        mend = f"{program()} reproduce PROFILE makes it"
        try:
            data = gunzip(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; {mend}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: {REFUSAL}: {one_line(error)}; {mend}") from None
        return Schema(Evidence, REFUSAL, mend).parse(data, path)


def claims(values: Values) -> list[Claim]:
    """All claims of ``conf/claim``, with their numbers at a scale.

    Raises:
        UserError: a file there is no claim.
    """
    return [Claim.read(name, values) for name in available("claim")]
