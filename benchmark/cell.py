"""One federation from configuration to record."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import __version__, config, fingerprint
from benchmark.files import locked
from benchmark.record import Record

if TYPE_CHECKING:
    from benchmark.recorder import OnRound

# What these say changes no number, so cells that differ in them alone are the same cell.
NOT_IN_THE_RESULT = (
    "tracking",
    "data.path",
    "data.url",
    "engine.workers",
    "federation.checkpoint_every",
)


class StoppedError(Exception):
    """Raised by who is told of a round, to give a cell up; says why in a line."""


@dataclass(frozen=True)
class Cell:
    """A federation to run.

    Attributes:
        overrides: what was chosen on top of ``conf/``.
        config: the resolved configuration.
        data: folder of its partitioned data.
        data_hash: content hash of that.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    data: Path
    data_hash: str

    @staticmethod
    def of(overrides: Sequence[str]) -> "Cell":
        """Compose, check, and partition the data where that is not done yet.

        Raises:
            UserError: the configuration or the data is not valid.
        """
        resolved = config.compose(overrides)
        # Imported late: torch takes seconds, and a wrong name should not.
        from benchmark.partitioning import partitioned

        folder, data_hash = partitioned(resolved)
        return Cell(tuple(overrides), resolved, folder, data_hash)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the source files that this cell uses."""
        targets = [
            self.config[group]["_target_"]
            for group in config.GROUPS
            if group not in ("data", "partition", "tracking")
        ]
        return fingerprint.fingerprint(
            [
                "benchmark.building",
                "benchmark.recorder",
                *(target.rpartition(".")[0] for target in targets),
            ]
        )

    @cached_property
    def id(self) -> str:
        """``attack-defense-s<seed>-<hash>`` of configuration, data and code."""
        relevant = json.loads(json.dumps(self.config))
        for key in NOT_IN_THE_RESULT:
            group, _, name = key.partition(".")
            (relevant[group].pop(name, None) if name else relevant.pop(group))
        text = json.dumps([relevant, self.data_hash, self.fingerprint], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        names = (self.config["attack"]["name"], self.config["defense"]["name"])
        return f"{'-'.join(names)}-s{self.seed}-{digest}"

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.config["seed"]

    @property
    def code(self) -> dict[str, str]:
        """What ran: version of the package, and :attr:`fingerprint`."""
        return {"version": __version__, "fingerprint": self.fingerprint}

    @property
    def rounds(self) -> int:
        """T."""
        return self.config["federation"]["rounds"]

    def record_path(self, folder: Path) -> Path:
        """Where the record lies in a suite's results."""
        return folder / "records" / f"{self.id}.json"

    def weights_path(self, folder: Path) -> Path:
        """Where the final global model lies, a ``state_dict``."""
        return folder / "weights" / f"{self.id}.pt"

    def work_path(self, folder: Path) -> Path:
        """Where checkpoints lie until the record does."""
        return folder / "work" / self.id

    def lock_path(self, folder: Path) -> Path:
        """What the process that runs the cell holds."""
        return folder / "work" / f"{self.id}.lock"


def run(cell: Cell, folder: Path, on_round: "OnRound | None" = None) -> Record:
    """Run a cell, or go on with it, or take its record if it is done; clear up after a kill.

    Args:
        cell: what to run.
        folder: results of a suite; the record goes to ``records/``, the final model to
            ``weights/``, and ``work/`` holds checkpoints until then.
        on_round: told of every round.

    Raises:
        UserError: parts that do not fit each other or the data.
        FloatingPointError: the training diverged.
        StoppedError: ``on_round`` gave the cell up; nothing of it is left.
    """
    path, work = cell.record_path(folder), cell.work_path(folder)
    with locked(cell.lock_path(folder)):
        for target in (path, cell.weights_path(folder)):
            for half_written in target.parent.glob(f".{target.name}.*"):
                half_written.unlink()
        if path.exists():
            shutil.rmtree(work, ignore_errors=True)
            return Record.read(path)
        # Imported late: Lightning takes seconds, and what is done needs none of it.
        from benchmark.training import train

        work.mkdir(parents=True, exist_ok=True)
        try:
            record = train(cell, folder, on_round)
        except StoppedError:
            shutil.rmtree(work)
            raise
        record.write(path)
        shutil.rmtree(work)
    return record


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a cell has its record; what a kill left beside that is cleared up."""
    if not cell.record_path(folder).exists():
        return False
    if cell.lock_path(folder).exists():
        run(cell, folder)
    return True
