"""What a run tells its tracker, and MLflow as one."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.tracking.courier import Courier, Job
from benchmark.tracking.fields import CellFacts
from benchmark.tracking.uri import artifact_folder, experiment_fault, tracking_uri
from benchmark.utils.errors import UserError, program
from benchmark.utils.urls import shown

if TYPE_CHECKING:
    from benchmark.tracking.runs import Runs

PATIENCE_SECONDS, TABLES_SECONDS = 8.0, 30.0
"""Without progress, at the end; making tables takes seconds, and more beside busy workers."""

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

Result = tuple[Mapping[str, float], Iterable[tuple[str, str]]]
"""Metrics by their names, and the names and texts of files."""

log = logging.getLogger("benchmark")


class NoTracker:
    """What a tracker is told; this one tracks nothing.

    Attributes:
        logged: cells whose runs were completed.
    """

    def __init__(self) -> None:
        self.logged = list[str]()
        self._suite: tuple[str, dict[str, Any], str] | None = None
        self._unlogged = set[str]()
        self._submit: Callable[[Job], None] = lambda job: None
        self._progress: Callable[[], None] = lambda: None

    def open_suite(self, name: str, params: dict[str, Any], kind: str = "suite") -> None:
        """Cells from here on are children of the run of this suite (or study), made or found."""
        self._suite = (name, params, kind)
        self._submit(lambda runs: None)

    def study(self, folder: Path) -> None:
        """Log the study's trials and files, as far as they are not; its cells come before."""
        self._unlogged.add(folder.name)

        def job(runs: "Runs") -> None:
            from benchmark.tracking import studies

            studies.log(runs, folder, self._progress)
            self._unlogged.discard(folder.name)

        self._submit(job)

    def result(self, find: Callable[[], Result]) -> None:
        """Find what the cells come to, when they are tracked, and give it to the suite's run."""
        self._submit(lambda runs: runs.result(*find(), self._progress))

    def start(self, facts: CellFacts) -> None:
        """Continue the cell's run if it is unfinished, else create one."""
        self._submit(lambda runs: runs.start(facts))

    def round(self, cell: str, round: int, metrics: dict[str, float]) -> None:
        """Note a round's metrics, None where there is no value; what the store holds stays."""
        at, values = int(time.time() * 1000), dict(metrics)
        self._submit(lambda runs: runs.round(cell, round, values, at))

    def finish(self, path: Path, partition: Path | None = None) -> None:
        """Complete the run of the record at ``path``; does nothing for what is complete.

        Args:
            path: of the record.
            partition: the folder of its data.
        """
        self._unlogged.add(path.stem)

        def job(runs: "Runs") -> None:
            try:
                if runs.finish(path, partition):
                    self.logged.append(path.stem)
            except UserError:
                self._unlogged.discard(path.stem)
                raise
            self._unlogged.discard(path.stem)

        self._submit(job)

    def fail(self, cell: str, reason: str) -> None:
        """End the cell's run as failed, with the reason as tag ``failure``."""
        self._submit(lambda runs: runs.end(cell, "FAILED", reason))

    def stop(self, cell: str, reason: str) -> None:
        """End the cell's run, which was given up on purpose, as killed."""
        self._submit(lambda runs: runs.end(cell, "KILLED", reason))

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

    Raises:
        UserError: MLflow could never track at ``uri``, or under that name.
    """

    def __init__(
        self,
        experiment: str = "fedbackdoor",
        uri: str | None = None,
        flush_seconds: float = 5.0,
        warn: Callable[[str], None] = log.warning,
    ):
        super().__init__()
        if not flush_seconds > 0:
            raise UserError(f"tracking.flush_seconds must be positive, got {flush_seconds}")
        self.uri, self.experiment, self._warn = tracking_uri(uri), experiment, warn
        if fault := experiment_fault(experiment, self.uri):
            raise UserError(f"tracking.experiment: {fault}, got {experiment!r}")
        self._courier = Courier(self._connect, flush_seconds, self._failing)
        self._submit, self._progress = self._courier.submit, self._courier.progress

    def close(self) -> list[str]:
        """Send the rest, end the suite's run and stop; a store that hangs is left to itself.

        Cells that neither finished nor failed, and their suite, end as ``KILLED``.
        """
        if not self._courier.started:
            return []
        self._submit(lambda runs: runs.close())
        self._courier.close(PATIENCE_SECONDS if self.uri.startswith("http") else TABLES_SECONDS)
        notes = list(self._courier.refused)
        count = len(self._unlogged)
        if count or self._courier.down:
            what = {0: "the end is", 1: "1 record is"}.get(count, f"{count} records are")
            said = shown(f"MLflow at {self.uri}: {self._courier.fault}")
            notes.append(f"{said}; {what} not tracked: `{program()} track` logs what is missing")
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
            f"`{program()} track` logs what is missing"
        )
