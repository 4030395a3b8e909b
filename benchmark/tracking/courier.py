"""A thread that talks to a store, so that the run never waits for it."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from benchmark.tracking.runs import Runs

BACK_OFF_SECONDS = 30.0

Job = Callable[["Runs"], None]


class Courier:
    """Does jobs in order on a thread of its own, and holds them back while the store fails.

    Args:
        connect: opens the store, on the thread, before the first job; tried again if it raises.
        flush_seconds: what jobs have gathered is sent this often.
        warn: told why the store failed, when it fails first; called on the thread.

    Attributes:
        fault: why the store failed last, in a line; None if it never did.
        down: whether it failed when it was last tried.
        refused: what was wrong with jobs whose own input is at fault, a line each.
    """

    def __init__(
        self, connect: Callable[[], "Runs"], flush_seconds: float, warn: Callable[[str], None]
    ):
        self.fault: str | None = None
        self.down = False
        self.refused = list[str]()
        self._connect, self._flush_seconds, self._warn = connect, flush_seconds, warn
        self._jobs = queue.SimpleQueue[Job | None]()
        self._thread: threading.Thread | None = None
        self._runs: Runs | None = None
        self._moved = time.monotonic()

    @property
    def started(self) -> bool:
        """Whether there ever was a job."""
        return self._thread is not None

    def submit(self, job: Job) -> None:
        """Have a job done when the earlier ones are."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def progress(self) -> None:
        """What takes long has come a step further; patience begins anew."""
        self._moved = time.monotonic()

    def close(self, patience: float) -> None:
        """Do what is left and stop; a store that hangs is left to itself.

        Args:
            patience: seconds without progress until it counts as hanging.
        """
        if self._thread is None:
            return
        self._jobs.put(None)
        self.progress()
        while self._thread.is_alive() and time.monotonic() - self._moved < patience:
            self._thread.join(0.05)
        if self._thread.is_alive():
            self.fault, self.down = self.fault or "no answer", True

    def _work(self) -> None:
        """Do jobs in order; after a failure hold them back a while, but not at the end."""
        waiting = deque[Job]()
        closing, flush_at = False, time.monotonic() + self._flush_seconds
        retry_at = 0.0
        while not closing or waiting:
            if not closing:
                closing = self._take(waiting, until=max(flush_at, retry_at))
            now = time.monotonic()
            if not closing and (now < retry_at or not (waiting or now >= flush_at)):
                continue
            try:
                self._runs = runs = self._runs or self._connect()
                self.progress()
                while waiting:
                    self._do(waiting.popleft(), runs)
                if closing or now >= flush_at:
                    runs.flush()
                    flush_at = now + self._flush_seconds
                self.down = False
            except Exception as error:
                is_first, self.fault, self.down = self.fault is None, _reason(error), True
                if is_first:
                    self._warn(self.fault)
                retry_at = time.monotonic() + BACK_OFF_SECONDS
                if closing and self._runs is None:
                    return

    def _do(self, job: Job, runs: "Runs") -> None:
        try:
            job(runs)
        except UserError as error:  # this record's fault, not the store's
            self.refused.append(str(error))
        self.progress()

    def _take(self, waiting: deque[Job], until: float) -> bool:
        """Wait for a job until then; whether it was the last one."""
        try:
            job = self._jobs.get(timeout=max(until - time.monotonic(), 0.01))
        except queue.Empty:
            return False
        if job is not None:
            waiting.append(job)
        return job is None


def _reason(error: BaseException) -> str:
    """The root cause in a line: what is wrapped around it names hosts, queries and retries."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
