"""Cells in warm processes of this machine."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmark.config import plugins
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Started, Stopped
from benchmark.run.executors.base import Executor
from benchmark.run.executors.worker import work
from benchmark.utils.errors import UserError

IMPORTED = "benchmark.run.training"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
STARTS = 3
DYING_SECONDS = 0.5
"""Until a server that was killed counts as dead, and another is started."""


class LocalExecutor(Executor):
    """Warm processes of this machine, one torch thread each.

    Args:
        workers: number of processes; by default the cores that this process may use.
    """

    def __init__(self, workers: int | None = None):
        self.workers = workers or len(os.sched_getaffinity(0))
        self._pool: list[_Worker] = []

    def run(self, cells: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        """See :class:`Executor`."""
        taken, workers = 0, self._pool
        try:
            while taken < len(cells) or any(worker.cell for worker in workers):
                wanted = len(cells) - taken - sum(worker.cell is None for worker in workers)
                for _ in range(min(wanted, self.workers - len(workers))):
                    workers.append(_Worker(folder))
                for worker in workers:
                    if worker.cell is None and taken < len(cells):
                        taken += 1
                        yield worker.start(cells[taken - 1])
                busy = {worker.connection: worker for worker in workers if worker.cell}
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    yield busy[connection].receive()
        finally:
            for worker in workers:
                worker.stop()
            workers.clear()

    def stop(self, cell: Cell, reason: str) -> None:
        """See :class:`Executor`."""
        for worker in self._pool:
            if worker.cell and worker.cell.id == cell.id:
                with suppress(OSError):  # it has died, which is told of
                    worker.connection.send(_Stop(cell.id, reason))


@dataclass(frozen=True)
class _Stop:
    """What a worker is sent beside cells."""

    cell: str
    reason: str


def spawn(serve: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A new process of one torch thread that serves the other end of a pipe.

    It is forked from a server that has imported what runs cells, which takes seconds. The server
    has no more threads than one and no CUDA, so that a fork of it is sound; it is started with
    the first process, and ends with this one.

    Args:
        serve: is given its end of the pipe, then ``arguments``.
        arguments: can be pickled.

    Raises:
        UserError: the server dies whenever it is started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([IMPORTED])
    ours, theirs = context.Pipe()
    given = (dict(os.environ) | ONE_THREAD, plugins.chosen(), serve, theirs, *arguments)
    process = context.Process(target=_begin, args=given, daemon=True)
    for _ in range(STARTS):
        with _inherited_by_children():
            forkserver.ensure_running()
        # It imports for seconds, in which it may be killed; the next one starts it again.
        with suppress(EOFError, ConnectionError):
            process.start()
            theirs.close()
            return process, ours
        time.sleep(DYING_SECONDS)
    raise UserError(
        f"what workers are forked from was killed {STARTS} times while it started: "
        "is there enough memory? --workers 1 takes the least"
    )


@contextmanager
def _inherited_by_children() -> Iterator[None]:
    """One thread: the OpenMP runtime reads its variable when it is loaded. No Ctrl-C: a terminal
    sends it to all, and the server would say where its imports were interrupted. Our path, as a
    module of the working directory must not pass for one of ours."""
    # Its own first start would end the mask.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    theirs = ONE_THREAD | {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in theirs}
    os.environ.update(theirs)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin(
    environment: dict[str, str],
    folders: Sequence[Path],
    serve: Callable[..., None],
    *arguments: Any,
) -> None:
    """Serve, with the parent's plug-ins; the server's environment is that of its start."""
    os.environ.clear()
    os.environ.update(environment)
    plugins.use(folders)
    serve(*arguments)


def ending(process: BaseProcess) -> str:
    """How a process ended, in a few words."""
    code = process.exitcode or 0
    why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return why + (" (out of memory?)" if code == -signal.SIGKILL else "")


class _Worker:
    """The parent's side of one process, which is replaced when it dies."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cell: Cell | None = None
        self._launch()

    def _launch(self) -> None:
        self.process, self.connection = spawn(_serve, self.folder)

    def start(self, cell: Cell) -> Event:
        self.cell = cell
        try:
            self.connection.send(cell)
        except OSError:
            # It died, with its last cell or with nothing to do.
            self.connection.close()
            self._launch()
            self.connection.send(cell)
        return Started(cell)

    def receive(self) -> Event:
        assert self.cell is not None
        try:
            event = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            reason = f"its worker died: {ending(self.process)}"
            event = Failed(self.cell, reason, "", worker_died=True)
        if isinstance(event, Finished | Failed | Stopped):
            self.cell = None
        return event

    def stop(self) -> None:
        self.connection.close()
        if self.cell is not None:
            self.process.terminate()
        self.process.join()


def _serve(connection: Connection, folder: Path) -> None:
    """Run the cells that come in until the parent is gone."""
    # Ctrl-C is the parent's business; it then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            cell = connection.recv()
        except (EOFError, OSError):
            return
        if isinstance(cell, _Stop):
            continue  # it came too late

        def given_up(cell: Cell = cell) -> str | None:
            while connection.poll():
                stop = connection.recv()
                if stop.cell == cell.id:
                    return str(stop.reason)
            return None

        try:
            event = work(cell, folder, connection.send, given_up)
        except (BrokenPipeError, ConnectionResetError):
            return
        except KeyboardInterrupt:
            # Lightning catches SIGTERM and raises at the end of a round; it is the signal that
            # ends this process.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        with suppress(OSError):
            connection.send(event)
