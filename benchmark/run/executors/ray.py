"""Cells on a Ray cluster: workers are actors, and this process alone writes results."""

import os
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.config import plugins
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.run.executors import cluster
from benchmark.run.executors.base import Executor
from benchmark.run.executors.node import NodeWorker, Told, checkpoints, packed, save
from benchmark.run.record import Record
from benchmark.run.runner import is_done, keep
from benchmark.utils.cluster import connected, room
from benchmark.utils.errors import one_line

DEATHS = 3
"""Of workers that a cell takes down without a checkpoint in between: then it is no accident."""
LOOK_SECONDS, LEAVE_SECONDS = 3.0, 10.0
"""Between looks at the cluster; until workers have cleared up."""


@dataclass
class _Task:
    """A cell, and what is known of how it went so far."""

    cell: Cell
    told: int = -1
    deaths: int = 0


@dataclass(eq=False)
class _Actor:
    """A worker: what it is waited for, its start or what it tells of its cell, if for anything."""

    handle: Any
    awaited: Any
    place: str = ""
    task: _Task | None = None


class RayExecutor(Executor):
    """Actors of a Ray cluster, each with a torch thread, its data and its plug-ins kept.

    Data and plug-ins come to a node through Ray's object store, so that nodes need share no
    folder; they need the same versions of this package and of torch. Records, rounds, checkpoints
    and final models come back, and are written here. A cell whose worker was lost goes on
    elsewhere from the last checkpoint that came back.

    Args:
        workers: cells at a time; by default as many as there is room for.
        address: ``HOST:PORT`` of the head, or ``auto`` for the cluster that this machine is part
            of; by default ``RAY_ADDRESS``, else a cluster of this machine alone, for so long as
            the command runs.
        num_cpus: of each cell; 1 or more.
        num_gpus: of each cell; a fraction has several share one.
        patience: seconds after which a cluster that starts no worker is given up; 60 or more.

    Raises:
        ValueError: resources or patience are none.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        patience: float = 300.0,
    ):
        if not (num_cpus > 0 and num_gpus >= 0 and patience > 0):
            raise ValueError("num_cpus and patience must be positive, and num_gpus at least 0")
        self.asked, self.patience = workers, patience
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.resources = {"CPU": num_cpus, "GPU": num_gpus}
        self.workers = workers or 0
        self._ray: Any = None
        self._actors: list[_Actor] = []
        self._data = dict[str, Any]()
        self._unstarted = 0

    def check(self) -> None:
        """Connect to the cluster, and see that it has room for a worker."""
        if self._ray is None:
            cpus = (self.asked or len(os.sched_getaffinity(0))) * self.resources["CPU"]
            self._ray, self._data = connected(self.address, cpus, "executor"), {}
            self._plugins = cluster.put(self._ray, [(f.name, packed(f)) for f in plugins.chosen()])
        self._look()
        if not self.workers:
            raise cluster.no_room(self._ray, self.resources)

    def __exit__(self, *error: object) -> None:
        if self._ray is not None:
            self._dismiss(self._actors)
            self._ray.shutdown()
            self._ray = None

    def run(self, cells: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        """See :class:`Executor`."""
        taken, again = 0, deque[_Task]()
        if cells:
            self.check()
        self._seen = time.monotonic()
        try:
            while taken < len(cells) or again or any(actor.task for actor in self._actors):
                self._grow(len(cells) - taken + len(again))
                for actor in self._actors:
                    if actor.awaited is None and (again or taken < len(cells)):
                        taken += not again
                        task = again.popleft() if again else _Task(cells[taken - 1])
                        yield from self._begin(actor, task, folder)
                for actor in self._told():
                    try:
                        event = self._receive(actor, folder)
                    except self._ray.exceptions.RayError as error:
                        yield from self._lose(actor, again, error)
                    else:
                        if event:
                            yield event
        finally:
            self._dismiss([actor for actor in self._actors if actor.task])

    def stop(self, cell: Cell, reason: str) -> None:
        """See :class:`Executor`."""
        for actor in self._actors:
            if actor.task and actor.task.cell.id == cell.id:
                actor.handle.stop.remote(cell.id, reason)

    def _look(self) -> None:
        """See how many workers there is room for."""
        there = room(self._ray, self.resources)
        self.workers, self._looked = min(self.asked or there, there), time.monotonic()

    def _grow(self, pending: int) -> None:
        """Have a worker for each cell, as far as there is room; or see that none will come."""
        now = time.monotonic()
        if any(actor.place for actor in self._actors):
            self._seen = now
        elif now > self._seen + self.patience:
            raise cluster.no_room(self._ray, self.resources)
        if now > self._looked + LOOK_SECONDS:
            self._look()
        busy = sum(actor.task is not None for actor in self._actors)
        for _ in range(min(busy + pending, self.workers) - len(self._actors)):
            actor = self._ray.remote(NodeWorker).options(
                num_cpus=self.resources["CPU"], num_gpus=self.resources["GPU"], max_concurrency=2
            )
            handle = actor.remote(self._plugins)
            self._actors.append(_Actor(handle, handle.facts.remote()))

    def _told(self) -> Iterator[_Actor]:
        """Workers that have started or told of something."""
        awaited = {actor.awaited: actor for actor in self._actors if actor.awaited is not None}
        if awaited:
            ready, _ = self._ray.wait(list(awaited), timeout=LOOK_SECONDS)
            yield from (awaited[one] for one in ready)
        else:
            time.sleep(LOOK_SECONDS)

    def _begin(self, actor: _Actor, task: _Task, folder: Path) -> Iterator[Event]:
        cell = task.cell
        yield Started(cell, actor.place, again=task.deaths > 0)
        if is_done(cell, folder):  # by another command
            yield Finished(cell, Record.read(cell.record_path(folder)))
            return
        if cell.data_hash not in self._data:
            self._data[cell.data_hash] = cluster.put(self._ray, packed(cell.data))
        given = (cell, self._data[cell.data_hash], packed(folder, checkpoints(cell)))
        actor.awaited = actor.handle.run.options(num_returns="streaming").remote(*given)
        actor.task = task

    def _receive(self, actor: _Actor, folder: Path) -> Event | None:
        if actor.task is None:
            actor.place, theirs = self._ray.get(actor.awaited)
            actor.awaited, self._unstarted = None, 0
            cluster.check_versions(actor.place, theirs)
            return None
        told: Told = self._ray.get(next(actor.awaited))
        event, cell = told.event, actor.task.cell
        if isinstance(event, Round):
            save(told.files, cell, folder)
            if told.files:
                actor.task.deaths = 0
            # A worker that was lost may have told of it before.
            if event.round <= actor.task.told:
                return None
            actor.task.told = event.round
            return replace(event, cell=cell)
        actor.task = actor.awaited = None
        if isinstance(event, Stopped):
            shutil.rmtree(cell.work_path(folder), ignore_errors=True)
        elif isinstance(event, Finished):

            def made(record: Record = event.record) -> Record:
                save(told.files, cell, folder)
                # There plug-ins lie in another folder.
                return replace(record, code=cell.code)

            return Finished(cell, keep(cell, folder, made))
        return replace(event, cell=cell)

    def _lose(self, actor: _Actor, again: deque[_Task], error: Exception) -> Iterator[Event]:
        """Have what a lost worker ran go on elsewhere."""
        self._actors.remove(actor)
        # It may live where only the way to it is lost.
        self._ray.kill(actor.handle)
        task = actor.task
        # Its node may be lost, and who is idle there: they answer before they are given a cell.
        for other in self._actors:
            if other.place and other.awaited is None:
                other.awaited = other.handle.facts.remote()
        if task is None:
            if actor.place:
                return
            self._unstarted += 1
            if cluster.is_refused(error) or self._unstarted == DEATHS:
                raise cluster.not_started(error)
            return
        task.deaths += 1
        if task.deaths < DEATHS:
            again.append(task)
        else:
            reason = f"{DEATHS} workers died with it, one after another: {one_line(error)}"
            yield Failed(task.cell, reason, str(error))

    def _dismiss(self, actors: Sequence[_Actor]) -> None:
        """End workers, which leave nothing behind."""
        if leaving := [actor.handle.leave.remote() for actor in actors if actor.place]:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
        for actor in actors:
            self._ray.kill(actor.handle)
        self._actors = [actor for actor in self._actors if actor not in actors]
