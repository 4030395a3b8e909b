"""What is told of cells while they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.run.cell import Cell
from benchmark.run.curve import Curve
from benchmark.run.record import Record


@dataclass(frozen=True)
class Started:
    """A worker took up a cell.

    Attributes:
        place: where it is, if not on this machine.
        again: it was taken up before, by a worker that was lost.
    """

    cell: Cell
    place: str = ""
    again: bool = False


@dataclass(frozen=True)
class Round:
    """A cell finished a round, counted from 0.

    Attributes:
        earlier: the curves of the rounds before, where it goes on from a checkpoint; told once.
    """

    cell: Cell
    round: int
    metrics: dict[str, float]
    earlier: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A cell's record is written."""

    cell: Cell
    record: Record


@dataclass(frozen=True)
class Failed:
    """A cell gave no record: one line why, and where it happened.

    Attributes:
        is_fatal: what stopped it would stop all others.
        worker_died: so nothing is known against the cell, which goes on if it is run again.
    """

    cell: Cell
    reason: str
    details: str
    is_fatal: bool = False
    worker_died: bool = False


@dataclass(frozen=True)
class Stopped:
    """A cell was given up on purpose and left nothing: one line why."""

    cell: Cell
    reason: str


Event = Started | Round | Finished | Failed | Stopped
