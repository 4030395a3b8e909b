"""What is kept of a cell: one JSON file that holds its result and all it takes to repeat it."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from benchmark.config.overrides import GROUPS
from benchmark.config.schema import Check, Schema
from benchmark.run.curve import Curve, Summary
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_json
from benchmark.utils.nested import digest

SCHEMA_VERSION = 2
BACKDOOR = "backdoor"
WITHOUT_CHECKSUM = 1
"""The version before, some of whose records have none."""


def choices(groups: Sequence[str]) -> Check:
    """That a configuration holds these groups, each with the ``name`` of what was chosen."""

    def check(config: dict[str, Any]) -> None:
        for group in groups:
            section = config.get(group)
            if not (isinstance(section, dict) and isinstance(section.get("name"), str)):
                raise ValueError(f"must hold {group}, a mapping with the name of what was chosen")

    return Check(check)


Configuration = Annotated[dict[str, Any], choices([g for g in GROUPS if g != "tracking"])]
"""A resolved configuration; each group holds its ``name`` and its parameters."""


@dataclass(frozen=True)
class Cost:
    """What the run took: differs from run to run, and so stays outside the result.

    Attributes:
        round_seconds, round_peak_memory_mb: of every round; memory is in MiB, on the device, or
            resident in the process on a CPU.
        device, engine, precision, environment: what it ran on and with.
    """

    round_seconds: list[float]
    round_peak_memory_mb: list[float]
    device: str
    engine: str
    precision: str
    environment: dict[str, str]

    @property
    def seconds(self) -> float:
        """All rounds together."""
        return sum(self.round_seconds)

    @property
    def peak_memory_mb(self) -> float:
        """That of the hungriest round."""
        return max(self.round_peak_memory_mb, default=0.0)


@dataclass(frozen=True)
class Divergence:
    """How a federation ended whose global model did not stay finite.

    Attributes:
        round: the last, from 0; it has no metrics.
        reason: one line.
        honest, compromised: users that submitted values that are not finite in that round.
    """

    round: int
    reason: str
    honest: list[int]
    compromised: list[int]


@dataclass(frozen=True)
class Record:
    """One cell's result.

    Attributes:
        cell: readable id, ``attack-defense-s<seed>-<hash>``; also the name of the file.
        overrides: what was chosen on top of ``conf/``; ``python -m benchmark run`` with them
            repeats the cell.
        config: the resolved configuration.
        data: manifest facts of the partitioned data (``name``, ``hash``, ``users``,
            ``user_kind``, ``train_images``, ``test_images``).
        code: ``version`` of the package, ``fingerprint`` of the definitions that the cell uses;
            for each group whose choice is a plug-in, the package or the folder that brought it.
        curves: metric name → curve.
        summary: metric name → summary.
        weights_sha256: of the final global model, float32, flat; None where it diverged.
        cost: seconds, memory, device.
        notes: what a reader must know before using the numbers.
        mlflow_run_id: None while the run is not tracked.
        goal: of the attack: ``backdoor``, or ``untargeted``, whose backdoor accuracy means nothing.
        diverged: None where the model stayed finite. One that did not reads nothing: its main
            accuracy at the end is 0, and there is no other number of its end.
        checksum: of the result, in a file; None before it is written, and in records of version 1.
    """

    cell: str
    overrides: list[str]
    config: Configuration
    data: dict[str, Any]
    code: dict[str, str]
    seed: int
    curves: dict[str, Curve]
    summary: dict[str, Summary]
    weights_sha256: str | None
    cost: Cost
    notes: list[str] = field(default_factory=list)
    mlflow_run_id: str | None = None
    diverged: Divergence | None = None
    goal: str = BACKDOOR
    checksum: str | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not (self.diverged or (self.weights_sha256 and self.cost.round_seconds)):
            raise ValueError("must have rounds and final weights where diverged is null")

    @property
    def command(self) -> str:
        """The command that repeats this cell."""
        folders = {where for where in self.code.values() if Path(where).is_absolute()}
        named = [word for folder in sorted(folders) for word in ("--plugins", folder)]
        return "python -m benchmark run " + shlex.join([*named, *self.overrides])

    def result(self) -> dict[str, Any]:
        """All that must come out the same when the cell is run again on the same machine."""
        told = {k: v for k, v in asdict(self).items() if k not in NOT_IN_THE_RESULT}
        # Records of before there were other goals have none, and keep their checksum.
        return {k: v for k, v in told.items() if (k, v) != ("goal", BACKDOOR)}

    def with_run(self, run_id: str) -> "Record":
        """The same record, tracked as ``run_id``."""
        return replace(self, mlflow_run_id=run_id)

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        # As it will be read: a whole number is a float then where a float is declared.
        read = SCHEMA.parse(json.dumps(asdict(self)).encode(), path)
        write_json(path, asdict(replace(read, checksum=digest(read.result(), 64))))

    @staticmethod
    def read(path: Path) -> "Record":
        """Read a record.

        Raises:
            UserError: the file is missing, is no record, has another schema version or was changed.
        """
        try:
            record = SCHEMA.read(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such record") from None
        if record.cell != path.stem:
            raise UserError(f"{path}: not a record of that name, but of {record.cell}; {MEND}")
        if record.checksum is None and record.schema_version != WITHOUT_CHECKSUM:
            raise UserError(f"{path}: not a record: checksum is missing; {MEND}")
        if record.checksum not in (None, digest(record.result(), 64)):
            raise UserError(f"{path}: its result is not the one that was written; {MEND}")
        return record


NOT_IN_THE_RESULT = ("cost", "mlflow_run_id", "checksum")
MEND = "without it its cell runs again"
SCHEMA = Schema(Record, "not a record", MEND, older=[WITHOUT_CHECKSUM])
