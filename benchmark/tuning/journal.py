"""Studies in a journal: a file that is only appended to, for file systems where SQLite is unsafe.

Several machines may share it over NFS. Importing this module imports Optuna.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

HEARTBEAT = "heartbeat"
"""System attribute of a running trial."""


@dataclass
class _Beat:
    """The last heartbeat of a trial that this process has seen, and since when."""

    value: float | None
    since: float


class Journal(JournalStorage, BaseHeartbeat):
    """Optuna's journal with heartbeats, which it has for databases alone.

    A trial is stale when its heartbeat has not changed for a while by the clock of who looks, so
    that the clocks of two machines need not agree.

    Args:
        file: made where there is none.
        interval: seconds between heartbeats.
        grace: seconds without one after which a trial is stale.
        now: what the time is, in seconds.
    """

    def __init__(
        self, file: Path, interval: int, grace: int, now: Callable[[], float] = time.monotonic
    ):
        super().__init__(_File(str(file)))
        self._interval, self._grace, self._now = interval, grace, now
        self._seen: dict[int, _Beat] = {}

    def record_heartbeat(self, trial_id: int) -> None:
        """See Optuna; of a trial that others have given up there is none."""
        with suppress(UpdateFinishedTrialError):
            self.set_trial_system_attr(trial_id, HEARTBEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        now = self._now()
        for trial in running:
            value = trial.system_attrs.get(HEARTBEAT)
            beat = self._seen.get(trial._trial_id)
            if beat is None or beat.value != value:
                self._seen[trial._trial_id] = _Beat(value, now)
        ids = [trial._trial_id for trial in running]
        return [i for i in ids if now - self._seen[i].since > self._grace]

    def get_heartbeat_interval(self) -> int:
        """See Optuna."""
        return self._interval

    def get_heartbeat_stale_trial_callback(self) -> None:
        """None: see :class:`benchmark.tuning.stopped.Stopped`."""


class _File(JournalFileBackend):
    """What is wrong with the file is said as databases say it."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        with _faults():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _faults():
            super().append_logs(logs)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageInternalError(str(error)) from None
    except ValueError as error:
        raise StorageInternalError(f"an entry is damaged ({error})") from None


def is_journal(file: Path) -> bool:
    """Whether the first line of a file is an entry of a journal."""
    with file.open("rb") as stream:
        try:
            entry = json.loads(stream.readline())
        except ValueError:
            return False
    return isinstance(entry, dict) and "op_code" in entry
