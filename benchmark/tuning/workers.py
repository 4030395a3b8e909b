"""Trials over the cores: processes that run one study together, watched by the one that asked.

A pool beside that of :mod:`benchmark.run.executors`, which :meth:`Study.run` alone knows: it goes
when studies hand their cells to the shared executor (issue 15).
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmark.run.events import Event
from benchmark.run.executors.local import ending, spawn
from benchmark.run.suite import Watch
from benchmark.tuning.problem import FinishedTrial
from benchmark.utils.errors import UserError

POLL_SECONDS = 1.0
DEATHS = 2
"""Of workers, for each of them, without a trial finished in between: then it is no accident."""


def nobody(told: Any) -> None:
    """Tell nobody."""


Job = Callable[[Watch], None]
"""Goes on with a study in a worker, whose federations somebody is told of; can be pickled."""


def run(
    job: Job,
    workers: int,
    trials: int,
    finished: Callable[[], list[FinishedTrial]],
    tell: Callable[[FinishedTrial], None],
    watch: Watch,
) -> None:
    """Have worker processes go on with a study until enough trials are finished.

    A worker that dies is replaced, and its trial is tried again with the same parameters. The
    workers end with this process.

    Args:
        job: of each of them.
        workers: processes.
        trials: in total.
        finished: those that anybody has finished.
        tell: told of every trial that anybody finishes meanwhile.
        watch: told of the workers' federations.

    Raises:
        UserError: the storage fails, or workers die time and again.
    """
    told = {trial.number for trial in finished()}
    if len(told) >= trials:
        return
    alive = [_TrialWorker(job) for _ in range(workers)]
    deaths, looked = 0, time.monotonic()
    try:
        while alive:
            ready = wait([worker.connection for worker in alive], timeout=POLL_SECONDS)
            for worker in [w for w in alive if w.connection in ready]:
                message = worker.receive()
                if message is not None:
                    watch(message)
                    continue
                alive.remove(worker)
                if worker.process.exitcode:
                    deaths += 1
                    if deaths > DEATHS * workers:
                        raise UserError(f"--workers {workers}: {ending(worker.process)}")
                    alive.append(_TrialWorker(job))
            if not alive or time.monotonic() > looked + POLL_SECONDS:
                looked = time.monotonic()
                for trial in finished():
                    if trial.number not in told:
                        told.add(trial.number)
                        deaths = 0
                        tell(trial)
    finally:
        for worker in alive:
            worker.stop()


class _TrialWorker:
    """The parent's side of a process."""

    def __init__(self, job: Job):
        self.process, self.connection = spawn(_serve, job)

    def receive(self) -> Event | None:
        """An event; None at its end."""
        try:
            message: Event | Exception = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            return None
        if isinstance(message, Exception):
            raise message
        return message

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, job: Job) -> None:
    # Ctrl-C is the parent's business; it then stops its workers, which put their trials back.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    try:
        job(connection.send)
    except KeyboardInterrupt:
        # Not by itself: where the parent did not ask for it, it starts another.
        raise SystemExit(1) from None
    except (BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        connection.send(UserError(str(error)))
    except Exception:
        connection.send(RuntimeError(traceback.format_exc()))


def _end_with_parent() -> None:
    parent = parent_process()
    main = threading.main_thread().ident
    assert parent is not None
    assert main is not None
    parent.join()
    signal.pthread_kill(main, signal.SIGTERM)
