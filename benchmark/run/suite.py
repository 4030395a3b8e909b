"""Suites: a grid of cells from a yaml, run on an executor, each finished cell a record."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.config.compose import plants_any, read_yaml
from benchmark.config.ensemble import ENSEMBLE, Ensemble
from benchmark.config.overrides import GROUPS, literal
from benchmark.config.plugins import available
from benchmark.config.schema import Schema
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed
from benchmark.run.executors.base import Executor
from benchmark.run.failures import keep_failure
from benchmark.run.record import Record
from benchmark.run.runner import is_done
from benchmark.utils.errors import UserError, program, unknown
from benchmark.utils.files import write_json

MANIFEST = "suite.json"

STANDALONE = "runs"
"""Folder under the results for federations that belong to no suite."""


@dataclass(frozen=True)
class Suite:
    """A list of cells, as a grid.

    Attributes:
        name: that of the yaml in ``conf/suite``.
        description: one line.
        overrides: for every cell, in Hydra's grammar.
        axes: group or key → its choices. For a group: a name, ``{name: {parameter: value}}``, where
            a list of values is a grid of its own, or ``"*"`` for all there are, of attacks those
            that plant any backdoor, but those that are named beside it; an ensemble of attacks is
            all of them. For a key: values.
        seeds: one cell each.
    """

    name: str
    description: str
    overrides: list[str]
    axes: dict[str, Any]
    seeds: list[int]

    @staticmethod
    def read(name: str) -> "Suite":
        """Read ``conf/suite/NAME.yaml``.

        Raises:
            UserError: there is none, or it is not a suite.
        """
        if name in available("reproduction"):
            raise UserError(
                f"suite {name} is run at a scale: {program()} reproduce PROFILE "
                f"--only {name}; valid: {', '.join(available('profile'))}"
            )
        if name not in available("suite"):
            raise unknown("suite", name, available("suite"))
        return Suite.of({"name": name, **read_yaml("suite", name)})

    @staticmethod
    def of(raw: dict[str, Any]) -> "Suite":
        """Check the parts of a suite.

        Raises:
            UserError: a part is missing or not of its type.
        """
        return Schema(Suite).check(raw, f"suite {raw.get('name')}")

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must hold at least one seed")
        for axis, entries in self.axes.items():
            if not _is_axis(axis, entries):
                raise ValueError(
                    f"axis {axis} must be a list; for a group of names and "
                    f"{{name: {{parameter: value}}}}, for a key of values; got {entries!r}"
                )

    def points(self) -> Iterator[list[str]]:
        """What the axes choose for every point of the grid."""
        axes = [list(_axis(axis, entries)) for axis, entries in self.axes.items()]
        for point in itertools.product(*axes):
            yield list(itertools.chain(*point))

    def grid(self) -> Iterator[list[str]]:
        """The overrides of every cell, seeds innermost."""
        for point in self.points():
            for seed in self.seeds:
                yield [*self.overrides, *point, f"seed={seed}"]

    def cells(self, further: Sequence[str] = (), folder: Path | None = None) -> list[Cell]:
        """All cells, ``further`` overrides included; each once. For ``folder`` see :meth:`Cell.of`.

        Raises:
            UserError: a cell's configuration or data is not valid.
        """
        cells: dict[str, Cell] = {}
        for overrides in self.grid():
            cell = Cell.of([*overrides, *further], folder)
            cells.setdefault(cell.id, cell)
        return list(cells.values())


def _is_axis(axis: str, entries: Any) -> bool:
    if isinstance(entries, str):
        return True
    if not isinstance(entries, list) or not entries:
        return False
    return axis not in GROUPS or all(
        isinstance(entry, str)
        or (isinstance(entry, dict) and all(isinstance(x, dict) for x in entry.values()))
        for entry in entries
    )


def _axis(axis: str, entries: Sequence[Any]) -> Iterator[list[str]]:
    entries = [entries] if isinstance(entries, str) else entries
    for entry in entries:
        if axis not in GROUPS:
            yield [f"{axis}={literal(entry)}"]
        elif entry == "*":
            beside = {name for e in entries for name in (e if isinstance(e, dict) else [e])}
            every = (x for x in available(axis) if axis != "attack" or plants_any(x))
            yield from ([f"{axis}={name}"] for name in every if name not in beside)
        elif axis == "attack" and entry in available(ENSEMBLE):
            yield from ([f"{axis}={name}"] for name in Ensemble.read(entry).attacks)
        elif isinstance(entry, dict):
            for name, parameters in entry.items():
                grids = [
                    [f"{axis}.{key}={literal(v)}" for v in (x if isinstance(x, list) else [x])]
                    for key, x in parameters.items()
                ]
                yield from ([f"{axis}={name}", *point] for point in itertools.product(*grids))
        else:
            yield [f"{axis}={entry}"]


@dataclass(frozen=True)
class Listed:
    """A cell of a suite that was run."""

    cell: str
    overrides: list[str]


@dataclass(frozen=True)
class Manifest:
    """A suite that was run.

    Attributes:
        name, description, overrides, axes, seeds: as :class:`Suite` has them.
        cells: its own, so that records of earlier code or settings may lie beside theirs.
    """

    name: str
    description: str
    overrides: list[str]
    axes: dict[str, Any]
    seeds: list[int]
    cells: list[Listed]
    schema_version: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a suite ended."""

    finished: int
    failed: list[Failed]


Watch = Callable[[Event], None]
"""Is told of every event as it comes."""


def divide(cells: Sequence[Cell], folder: Path) -> tuple[list[Cell], list[Cell]]:
    """The cells that have a record, and the others."""
    done: list[Cell] = []
    pending: list[Cell] = []
    # Looked at once each: a worker of a killed suite may be writing a record still.
    for cell in cells:
        (done if is_done(cell, folder) else pending).append(cell)
    return done, pending


def run(
    suite: Suite, cells: Sequence[Cell], folder: Path, executor: Executor, watch: Watch
) -> Outcome:
    """Run the cells that have no record yet.

    Args:
        suite: what the cells belong to.
        cells: all of them.
        folder: the suite's results; its manifest names the cells, so that records of earlier
            code or settings may stay beside them.
        executor: where they run.
        watch: told of every event.
    """
    write_manifest(suite, cells, folder)
    _, pending = divide(cells, folder)
    failed = []
    for event in executor.run(pending, folder):
        watch(event)
        keep_failure(event, folder)
        if isinstance(event, Failed):
            failed.append(event)
    return Outcome(len(cells) - len(failed), failed)


def write_manifest(suite: Suite, cells: Sequence[Cell], folder: Path) -> None:
    """Write which cells the suite has."""
    listed = [Listed(cell.id, list(cell.overrides)) for cell in cells]
    write_json(folder / MANIFEST, asdict(Manifest(**vars(suite), cells=listed)))


def records(folder: Path) -> tuple[list[Record], list[str]]:
    """The records of a suite's cells, and the ids of the cells that have none.

    Raises:
        UserError: the suite has not been run, or a record is not readable.
    """
    path, again = folder / MANIFEST, f"{program()} suite {folder.name}"
    try:
        mend = f"write it again with: {again}"
        listed = [entry.cell for entry in Schema(Manifest, "corrupt", mend).read(path).cells]
    except FileNotFoundError:
        if folder.name not in available("suite"):
            raise unknown("suite", folder.name, available("suite")) from None
        raise UserError(f"{path}: no results; make them with: {again}") from None
    found, missing = [], []
    for cell in listed:
        record = folder / "records" / f"{cell}.json"
        if record.exists():
            found.append(Record.read(record))
        else:
            missing.append(cell)
    return found, missing
