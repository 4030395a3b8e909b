"""What is told of cells while they run."""

from dataclasses import dataclass

from benchmark.run.cell import Cell
from benchmark.run.record import Record


@dataclass(frozen=True)
class Started:
    """A worker took up a cell."""

    cell: Cell


@dataclass(frozen=True)
class Round:
    """A cell finished a round, counted from 0."""

    cell: Cell
    round: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """A cell's record is written."""

    cell: Cell
    record: Record


@dataclass(frozen=True)
class Failed:
    """A cell gave no record: one line why, and where it happened.

    ``is_fatal``: what stopped it would stop all others.
    """

    cell: Cell
    reason: str
    details: str
    is_fatal: bool = False


@dataclass(frozen=True)
class Stopped:
    """A cell was given up on purpose and left nothing: one line why."""

    cell: Cell
    reason: str


Event = Started | Round | Finished | Failed | Stopped
