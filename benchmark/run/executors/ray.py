"""Cells on a Ray cluster: workers are actors, and this process alone writes results."""

import os
import pickle
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import plugins
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started
from benchmark.run.executors import cluster
from benchmark.run.executors.base import Executor
from benchmark.run.executors.node import NodeWorker
from benchmark.run.executors.nursery import Nursery
from benchmark.run.executors.remote import RemoteCell
from benchmark.run.executors.transfer import Told, checkpoints, packed
from benchmark.run.record import Record
from benchmark.utils.cluster import connected, room
from benchmark.utils.errors import one_line

DEATHS = 3
"""Of workers that a cell takes down without a checkpoint in between: then it is no accident."""
LOOK_SECONDS, LEAVE_SECONDS = 3.0, 10.0
"""Between looks at the cluster; until workers have cleared up."""


@dataclass(eq=False)
class _Actor:
    """A worker: what it is waited for, if for anything (its start or what it tells of its cell)."""

    handle: Any
    awaited: Any
    place: str = ""
    turn: int = 0
    task: RemoteCell | None = None


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
        self._is_ours = False
        self._nursery: Nursery | None = None
        self._actors: list[_Actor] = []
        self._waiting = deque[RemoteCell]()
        self._data = dict[str, Any]()
        self._unstarted = 0

    def check(self) -> None:
        """Connect to the cluster, and see that it has room for a worker."""
        if self._ray is None:
            cpus = (self.asked or len(os.sched_getaffinity(0))) * self.resources["CPU"]
            if self.address == "local":
                # What workers are forked from starts beside the cluster, and outlasts them.
                self._nursery = Nursery.of_this_machine()
                self._nursery.prepare()
            self._ray, self._is_ours = connected(self.address, cpus, "executor")
            self._plugins = cluster.put(self._ray, [(f.name, packed(f)) for f in plugins.chosen()])
        self._look()
        if not self.workers:
            raise cluster.no_room(self._ray, self.resources)

    def __exit__(self, *error: object) -> None:
        if self._ray is not None:
            self._dismiss(self._actors)
            if self._is_ours:
                self._ray.shutdown()
            self._ray, self._data = None, {}
        if self._nursery is not None:
            self._nursery.leave()
            self._nursery = None

    def run(self, cells: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        """See :class:`Executor`."""
        taken = 0
        if cells:
            self.check()
        self._seen = time.monotonic()
        try:
            while taken < len(cells) or self._waiting or any(actor.task for actor in self._actors):
                self._waiting += [RemoteCell(cell, folder) for cell in cells[taken:]]
                taken = len(cells)
                self._grow()
                for actor in self._actors:
                    if actor.awaited is None:
                        yield from self._begin(actor)
                for actor in self._told():
                    yield from self._receive(actor)
        finally:
            for task in self._waiting:
                task.lock.close()
            self._waiting.clear()
            self._dismiss([actor for actor in self._actors if actor.task])

    def stop(self, cell: Cell, reason: str) -> None:
        """See :class:`Executor`."""
        for actor in self._actors:
            if actor.task and actor.task.cell.id == cell.id:
                actor.handle.stop.remote(actor.turn, reason)

    def _look(self) -> None:
        """See how many workers there is room for."""
        there = room(self._ray, self.resources)
        self.workers, self._looked = min(self.asked or there, there), time.monotonic()

    def _grow(self) -> None:
        """Have a worker for each cell, as far as there is room; or see that none will come."""
        now = time.monotonic()
        if any(actor.place for actor in self._actors):
            self._seen = now
        elif now > self._seen + self.patience:
            raise cluster.no_room(self._ray, self.resources)
        if now > self._looked + LOOK_SECONDS:
            self._look()
        busy = sum(actor.task is not None for actor in self._actors)
        for _ in range(min(busy + len(self._waiting), self.workers) - len(self._actors)):
            asked = {f"num_{kind.lower()}s": count for kind, count in self.resources.items()}
            actor = self._ray.remote(NodeWorker).options(**asked, max_concurrency=2)
            handle = actor.remote(self._plugins, self._ray.get_runtime_context().gcs_address)
            self._actors.append(_Actor(handle, handle.facts.remote()))

    def _told(self) -> Iterator[_Actor]:
        """Workers that have started or told of something."""
        awaited = {actor.awaited: actor for actor in self._actors if actor.awaited is not None}
        if awaited:
            ready, _ = self._ray.wait(list(awaited), timeout=LOOK_SECONDS)
            yield from (awaited[one] for one in ready)
        elif self._waiting:  # for other commands, or for a node
            time.sleep(LOOK_SECONDS)

    def _begin(self, actor: _Actor) -> list[Event]:
        """Give it the next cell that nobody else runs; what is to be told of that."""
        events: list[Event] = []
        for _ in range(len(self._waiting)):
            task = self._waiting.popleft()
            if not task.take():
                self._waiting.append(task)
                continue
            cell, folder = task.cell, task.folder
            events.append(Started(cell, actor.place, again=task.deaths > 0))
            if cell.record_path(folder).exists():  # by another command
                done = Finished(cell, Record.read(cell.record_path(folder)))
                events.append(task.ended(Told(done, {})))
                continue
            if cell.data_hash not in self._data:
                self._data[cell.data_hash] = cluster.put(self._ray, packed(cell.data))
            actor.turn += 1
            kept = packed(folder, checkpoints(cell))
            given = (actor.turn, cell, self._data[cell.data_hash], kept)
            actor.awaited = actor.handle.run.options(num_returns="streaming").remote(*given)
            actor.task = task
            break
        return events

    def _receive(self, actor: _Actor) -> Iterator[Event]:
        task = actor.task
        try:
            got = self._ray.get(next(actor.awaited) if task else actor.awaited)
        except self._ray.exceptions.RayError as error:
            yield from self._lose(actor, error)
            return
        if task is None:
            (actor.place, theirs), actor.awaited, self._unstarted = got, None, 0
            cluster.check_versions(actor.place, theirs)
            return
        told: list[Told] = pickle.loads(got)
        yield from (went_on := task.went_on(told))
        if went_on and isinstance(went_on[-1], Failed):
            self._dismiss([actor])
        elif not isinstance(told[-1].event, Round):
            actor.task = actor.awaited = None
            begun = list[Event]()
            try:
                # It is at work again while its results are written.
                begun = self._begin(actor)
            finally:
                ended = task.ended(told[-1])
            yield ended
            yield from begun

    def _lose(self, actor: _Actor, error: Exception) -> Iterator[Event]:
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
            self._waiting.appendleft(task)
        else:
            task.lock.close()
            reason = f"{DEATHS} workers died with it, one after another: {one_line(error)}"
            yield Failed(task.cell, reason, str(error))

    def _dismiss(self, actors: Sequence[_Actor]) -> None:
        """End workers, which leave nothing behind."""
        if leaving := [actor.handle.leave.remote() for actor in actors if actor.place]:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
        for actor in actors:
            self._ray.kill(actor.handle)
            if actor.task:
                actor.task.lock.close()
        self._actors = [actor for actor in self._actors if actor not in actors]
