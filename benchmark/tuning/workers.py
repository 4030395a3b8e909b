"""Trials over the cores: processes that run one study together, watched by the one that asked."""

import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from benchmark.run.events import Event
from benchmark.run.executors.local import ending, spawn
from benchmark.run.suite import Watch
from benchmark.tuning.problem import FinishedTrial, Problem
from benchmark.tuning.study import POLL_SECONDS, Study
from benchmark.utils.errors import UserError

Make = Callable[[Watch], Problem]
"""Makes the problem in a worker, with whom it tells of federations; can be pickled."""
DEATHS = 2
"""Of workers, for each of them, without a trial finished in between: then it is no accident."""


@dataclass(frozen=True)
class Job:
    """What a worker is to do: a study's parts, and when to end."""

    url: str
    name: str
    sampler: str
    seed: int
    pruner: str
    part_of: Mapping[str, Any]
    make: Make
    trials: int
    until: float

    def study(self, watch: Watch) -> Study:
        """The study, in a worker."""
        problem = self.make(watch)
        return Study(
            self.url, self.name, problem, self.sampler, self.seed, self.pruner, self.part_of
        )


@dataclass(frozen=True)
class Broken:
    """A worker's last words: a user's mistake, or a fault of the program."""

    message: str
    by_user: bool


def run(
    study: Study,
    make: Make,
    workers: int,
    trials: int,
    tell: Callable[[FinishedTrial], None],
    watch: Watch,
    until: float = math.inf,
) -> list[FinishedTrial]:
    """Have worker processes go on with a study until enough trials are finished.

    A worker that dies is replaced, and its trial is tried again with the same parameters. The
    workers end with this process.

    Args:
        study: opened.
        make: its problem, in a worker.
        workers: processes.
        trials, until: see :meth:`Study.run`.
        tell: told of every trial that anybody finishes meanwhile.
        watch: told of the workers' federations.

    Returns:
        All that are complete, by number.

    Raises:
        UserError: the storage fails, or workers die time and again.
    """
    parts = (study.url, study.name, study.sampler, study.seed, study.pruner, study.part_of)
    job = Job(*parts, make, trials, until)
    told = {trial.number for trial in study.finished()}
    if len(told) >= trials:
        return study.tried()
    alive = [_Worker(job) for _ in range(workers)]
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
                    alive.append(_Worker(job))
            if not alive or time.monotonic() > looked + POLL_SECONDS:
                looked = time.monotonic()
                for trial in study.finished():
                    if trial.number not in told:
                        told.add(trial.number)
                        deaths = 0
                        tell(trial)
    finally:
        for worker in alive:
            worker.stop()
    return study.tried()


class _Worker:
    """The parent's side of a process."""

    process: BaseProcess
    connection: Connection

    def __init__(self, job: Job):
        self.process, self.connection = spawn(_serve, job)

    def receive(self) -> Event | None:
        """An event; None at its end."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            return None
        if isinstance(message, Broken):
            raise UserError(message.message) if message.by_user else RuntimeError(message.message)
        assert isinstance(message, Event)
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
        study = job.study(connection.send)
        study.open()
        study.run(job.trials, lambda trial: None, job.until)
    except KeyboardInterrupt:
        # Not by itself: where the parent did not ask for it, it starts another.
        raise SystemExit(1) from None
    except (BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        connection.send(Broken(str(error), by_user=True))
    except Exception:
        connection.send(Broken(traceback.format_exc(), by_user=False))


def _end_with_parent() -> None:
    parent = parent_process()
    main = threading.main_thread().ident
    assert parent is not None
    assert main is not None
    parent.join()
    signal.pthread_kill(main, signal.SIGTERM)
