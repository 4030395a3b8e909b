"""What is kept of a cell: one JSON file that holds its result and all it takes to repeat it."""

import json
import shlex
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from benchmark.utils.errors import UserError
from benchmark.utils.files import write_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Curve:
    """A metric over rounds: ``values[i]`` was measured after the server update of ``rounds[i]``.

    Rounds count from 0, as in the paper.
    """

    rounds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, round: int, value: float) -> None:
        """Append one measurement."""
        self.rounds.append(round)
        self.values.append(value)


@dataclass(frozen=True)
class Summary:
    """One metric's curve in a few numbers; None where the run has no such round.

    Attributes:
        final: the last value.
        last_fifth: mean over the last fifth of the rounds.
        cumulative_mean: mean over all measured rounds (the paper's figures draw it).
        before_attack: mean over the rounds just before one with a compromised client.
        after_attack: mean over the rounds with a compromised client, measured after them.
    """

    final: float | None
    last_fifth: float | None
    cumulative_mean: float | None
    before_attack: float | None
    after_attack: float | None


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
        return max(self.round_peak_memory_mb)


@dataclass(frozen=True)
class Record:
    """One cell's result.

    Attributes:
        cell: readable id, ``attack-defense-s<seed>-<hash>``; also the name of the file.
        overrides: what was chosen on top of ``conf/``; ``python -m benchmark run`` with them
            repeats the cell.
        config: the resolved configuration; each group holds its ``name`` and its parameters.
        data: manifest facts of the partitioned data (``name``, ``hash``, ``users``,
            ``user_kind``, ``train_images``, ``test_images``).
        code: ``version`` of the package, ``fingerprint`` of the source files that the cell uses.
        curves: metric name → curve.
        summary: metric name → summary.
        weights_sha256: of the final global model, float32, flat.
        cost: seconds, memory, device.
        notes: what a reader must know before using the numbers.
        mlflow_run_id: None while the run is not tracked.
    """

    cell: str
    overrides: list[str]
    config: dict[str, Any]
    data: dict[str, Any]
    code: dict[str, str]
    seed: int
    curves: dict[str, Curve]
    summary: dict[str, Summary]
    weights_sha256: str
    cost: Cost
    notes: list[str] = field(default_factory=list)
    mlflow_run_id: str | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def command(self) -> str:
        """The command that repeats this cell."""
        return "python -m benchmark run " + shlex.join(self.overrides)

    def result(self) -> dict[str, Any]:
        """All that must come out the same when the cell is run again on the same machine."""
        return {k: v for k, v in asdict(self).items() if k not in ("cost", "mlflow_run_id")}

    def with_run(self, run_id: str) -> "Record":
        """The same record, tracked as ``run_id``."""
        return replace(self, mlflow_run_id=run_id)

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> "Record":
        """Read a record.

        Raises:
            UserError: the file is missing, is no record or has another schema version.
        """
        try:
            return Record.of(json.loads(path.read_text(encoding="utf-8")), str(path))
        except FileNotFoundError:
            raise UserError(f"{path}: no such record") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: not a record: {error}; without it its cell runs again"
            ) from error

    @staticmethod
    def of(raw: dict[str, Any], where: str) -> "Record":
        """A record from its JSON.

        Raises:
            UserError: another schema version or other fields; says ``where``.
            AttributeError, KeyError, TypeError, ValueError: no record at all.
        """
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{where}: record of schema version {raw.get('schema_version')}, "
                f"this program reads version {SCHEMA_VERSION}"
            )
        known = {f.name for f in fields(Record)}
        if set(raw) != known:
            raise UserError(f"{where}: not a record, fields differ: {set(raw) ^ known}")
        parts = {
            "curves": {name: Curve(**curve) for name, curve in raw["curves"].items()},
            "summary": {name: Summary(**s) for name, s in raw["summary"].items()},
            "cost": Cost(**raw["cost"]),
        }
        return Record(**{**raw, **parts})
