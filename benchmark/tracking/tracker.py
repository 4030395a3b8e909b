"""What a run tells its tracker, and MLflow as one."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.tracking.courier import Courier
from benchmark.tracking.fields import CellFacts
from benchmark.tracking.uri import artifact_folder, tracking_uri
from benchmark.utils.errors import UserError
from benchmark.utils.urls import shown

if TYPE_CHECKING:
    from benchmark.tracking.runs import Runs

PATIENCE_SECONDS = {"http": 8.0, "https": 8.0}
"""Without progress, at the end."""
DATABASE_PATIENCE_SECONDS = 30.0
"""Creating MLflow's tables takes a few seconds of computing, and more beside busy workers."""

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Set where the user has not: no minutes of retries, and MLflow keeps off the terminal."""

Kind = Literal["suite", "study"]
log = logging.getLogger("benchmark")


class NoTracker:
    """Tracks nothing; also the list of what a tracker is told."""

    def open_suite(self, name: str, params: dict[str, Any], kind: Kind = "suite") -> None:
        """A suite or a study begins or goes on; comes before any cell."""

    def study(self, folder: Path) -> None:
        """A study has trials, and maybe a result, in its folder."""

    def start(self, facts: CellFacts) -> None:
        """A cell begins or goes on."""

    def round(self, cell: str, round: int, metrics: dict[str, float]) -> None:
        """A round was measured; None stands for no value."""

    def finish(self, path: Path, partition: Path | None = None) -> None:
        """A cell's record was written to ``path``; ``partition`` is its data's folder."""

    def fail(self, cell: str, reason: str) -> None:
        """A cell stopped without a record."""

    def stop(self, cell: str, reason: str) -> None:
        """A cell was given up on purpose."""

    def close(self) -> list[str]:
        """All is said; returns what the user must know, nothing if all is tracked."""
        return []


class Tracker(NoTracker):
    """Tracks one suite, or cells of their own, with MLflow.

    Its methods return at once. A store that fails costs no result: records stand with
    ``mlflow_run_id`` None, the store is tried again every 30 seconds, and ``finish`` on the
    same record, now or in another process, logs exactly what is missing. A record gets its
    ``mlflow_run_id`` when its run is complete.

    Args:
        experiment: MLflow experiment, created if it does not exist.
        uri: see :func:`benchmark.tracking.tracking_uri`.
        flush_seconds: rounds are sent this often; 1 to 60 is sensible.
        warn: told one line when the store fails; called from the tracker's thread.

    Attributes:
        logged: cells whose runs were completed.

    Raises:
        UserError: MLflow could never track at ``uri``.
    """

    def __init__(
        self,
        experiment: str = "fedbackdoor",
        uri: str | None = None,
        flush_seconds: float = 5.0,
        warn: Callable[[str], None] = log.warning,
    ):
        if not experiment:
            raise UserError("tracking.experiment: the name of an MLflow experiment is missing")
        if not flush_seconds > 0:
            raise UserError(f"tracking.flush_seconds must be positive, got {flush_seconds}")
        self.uri, self.experiment, self.logged = tracking_uri(uri), experiment, list[str]()
        self._courier = Courier(self._connect, flush_seconds, self._failing)
        self._warn = warn
        self._suite: tuple[str, dict[str, Any], Kind] | None = None
        self._running, self._unlogged = set[str](), set[str]()
        self._failed = False

    def open_suite(self, name: str, params: dict[str, Any], kind: Kind = "suite") -> None:
        """Cells from here on are children of the run of this suite, which is made or found."""
        self._suite = (name, params, kind)
        self._courier.submit(lambda runs: None)

    def study(self, folder: Path) -> None:
        """Log the study's trials and files, as far as they are not; its cells come before."""
        self._unlogged.add(folder.name)

        def job(runs: "Runs") -> None:
            from benchmark.tracking import studies

            studies.log(runs, folder, self._courier.progress)
            self._unlogged.discard(folder.name)

        self._courier.submit(job)

    def start(self, facts: CellFacts) -> None:
        """Continue the cell's run if it is unfinished, else create one."""
        self._running.add(facts.cell)
        self._courier.submit(lambda runs: runs.start(facts))

    def round(self, cell: str, round: int, metrics: dict[str, float]) -> None:
        """Note a round's metrics; a round that the store holds already is not logged again."""
        at, values = int(time.time() * 1000), dict(metrics)
        self._courier.submit(lambda runs: runs.round(cell, round, values, at))

    def finish(self, path: Path, partition: Path | None = None) -> None:
        """Complete the run of the record at ``path``; does nothing for what is complete."""
        self._running.discard(path.stem)
        self._unlogged.add(path.stem)

        def job(runs: "Runs") -> None:
            try:
                if runs.finish(path, partition):
                    self.logged.append(path.stem)
            except UserError:
                self._unlogged.discard(path.stem)
                raise
            self._unlogged.discard(path.stem)

        self._courier.submit(job)

    def fail(self, cell: str, reason: str) -> None:
        """End the cell's run as failed, with the reason as tag ``failure``."""
        # In a study that is a finding: an attack that breaks the model.
        self._failed |= self._suite is None or self._suite[2] == "suite"
        self._running.discard(cell)
        self._courier.submit(lambda runs: runs.end(cell, "FAILED", reason))

    def stop(self, cell: str, reason: str) -> None:
        """End the cell's run as killed, with the reason as tag ``failure``."""
        self._running.discard(cell)
        self._courier.submit(lambda runs: runs.end(cell, "KILLED", reason))

    def close(self) -> list[str]:
        """Send the rest, end the suite's run and stop; a store that hangs is left to itself.

        Cells that neither finished nor failed, and their suite, end as ``KILLED``.
        """
        if not self._courier.started:
            return []
        for cell in self._running:
            self._courier.submit(lambda runs, cell=cell: runs.end(cell, "KILLED"))  # type: ignore[misc]
        status = "KILLED" if self._running else "FAILED" if self._failed else "FINISHED"
        self._courier.submit(lambda runs: runs.close_suite(status))
        patience = PATIENCE_SECONDS.get(self.uri.partition(":")[0], DATABASE_PATIENCE_SECONDS)
        self._courier.close(patience)
        notes = list(self._courier.refused)
        count = len(self._unlogged)
        if count or self._courier.down:
            what = {0: "the end is", 1: "1 record is"}.get(count, f"{count} records are")
            said = shown(f"MLflow at {self.uri}: {self._courier.fault}")
            notes.append(
                f"{said}; {what} not tracked: `python -m benchmark track` logs what is missing"
            )
        return notes

    def _connect(self) -> "Runs":
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        from benchmark.tracking.runs import Runs

        self._courier.progress()
        return Runs(self.uri, self.experiment, artifact_folder(self.uri), self._suite)

    def _failing(self, fault: str) -> None:
        self._warn(
            f"{shown(f'MLflow at {self.uri}: {fault}')}. The run goes on and its records stand; "
            "`python -m benchmark track` logs what is missing"
        )
