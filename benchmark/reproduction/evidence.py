"""All that the paper's experiments gave at one scale: what a report is built from."""

import gzip
import json
import statistics
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from benchmark.config.compose import available, read_yaml
from benchmark.config.schema import VERSION, Check, Schema
from benchmark.reproduction.claim import Claim, Failure
from benchmark.reproduction.profile import HONEST, Values, fill
from benchmark.reproduction.verdict import Verdict, judge
from benchmark.results.table import Row, no_record, runs
from benchmark.run.record import Record
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.files import atomic_file, gunzip

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


def _own(records: dict[str, Record]) -> None:
    for name, record in records.items():
        if record.cell != name:
            raise ValueError(f"has {record.cell} under the name of {name}")


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

    def runs(self, suite: str) -> Iterator[Record | Failure | None]:
        """The records of a suite, or why there is none; None for each that was not run."""
        for line in self.lines.get(suite, ()):
            for cell in line.cells:
                yield self.records.get(cell) or self.failures.get(cell)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each run of each suite, see :mod:`benchmark.results.table`."""
        cells: list[tuple[str, str]] = []
        absent: dict[str, Row] = {}
        for suite, lines in self.lines.items():
            for line in lines:
                for cell, seed in zip(line.cells, self.seeds, strict=False):
                    cells.append((suite, cell))
                    if cell not in self.records:
                        why = self.failures.get(cell)
                        absent[cell] = (
                            no_record(cell, why.seed, why.reason, why.config)
                            if why
                            else no_record(cell, seed)
                        )
        table = runs(self.records.values(), absent.values()).set_index("cell", drop=False)
        return table.loc[[cell for _, cell in cells]].assign(suite=[suite for suite, _ in cells])

    def of(self, line: Line) -> list[Record]:
        """The records of a line that are there, by seed."""
        return [self.records[cell] for cell in line.cells if cell in self.records]

    def diverged(self, line: Line) -> int:
        """Number of a line's federations whose model did not stay finite."""
        found = (self.records.get(cell) or self.failures.get(cell) for cell in line.cells)
        return sum(bool(run and run.diverged) for run in found)

    @property
    def missing(self) -> list[str]:
        """Cells without a record."""
        cells = {cell for lines in self.lines.values() for line in lines for cell in line.cells}
        return sorted(cells - self.records.keys())

    @property
    def unfinished(self) -> list[str]:
        """Cells without a record, but for those whose model diverged: that is a finding."""
        return [c for c in self.missing if not (c in self.failures and self.failures[c].diverged)]

    @property
    def main(self) -> float | None:
        """Main accuracy over the last fifth of the rounds without attack and defense."""
        runs = [run for run in self.runs(HONEST) if isinstance(run, Record)]
        found = [run.summary["main_accuracy"].last_fifth for run in runs]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known else None

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

    @property
    def left_out(self) -> list[str]:
        """Suites that there are and that were not run."""
        return sorted(set(available("reproduction")) - self.lines.keys())

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
        try:
            data = gunzip(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; {MEND}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: {REFUSAL}: {one_line(error)}; {MEND}") from None
        return Schema(Evidence, REFUSAL, MEND).parse(data, path)


REFUSAL = "not the evidence of a reproduction"
MEND = "python -m benchmark reproduce PROFILE makes it"


def claims(values: Values) -> list[Claim]:
    """All claims of ``conf/claim``, with their numbers at a scale.

    Raises:
        UserError: a file there is no claim.
    """
    found = []
    for name in available("claim"):
        raw: Mapping[str, Any] = read_yaml("claim", name)
        found.append(Claim.of(name, fill(raw, values, f"claim {name}")))
    return found
