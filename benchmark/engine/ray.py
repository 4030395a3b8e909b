"""A round's lanes over the actors of a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Left, Predict, Trained
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.rules import LocalRule
from benchmark.utils.checks import at_least
from benchmark.utils.cluster import carry_code, connected, room

_SHARES = 4
"""Of a round's lanes for each actor: one that is slow holds up a fraction of its part."""
_LANES = 250
"""In a share at most: what comes back lies in memory."""
_LOSSES = 20
"""Of an actor, after which it is no accident, and the cell fails."""


class RayEngine(Engine):
    """Lanes shared out to actors, each with a fast engine of its own, for cohorts of thousands.

    Model and data come to a node once, θ once a round; the updates come back, ``(K, P)`` in all.
    With ``federation.part_size`` an actor trains a part of the cohort and the defense looks at it
    there: what comes back is its sums, ``(P,)`` each. A lane with a rule or a loss of its own, as
    an adversary's, is trained by this process. The bits are those of engine ``cpu`` on any number
    of actors; one that is lost is replaced, and its lanes are trained anew.

    Args:
        address: as ``executor.address``.
        actors: that train; null takes as many as the cluster has room for.
        num_cpus: of each actor, 1 or more: so many lanes at a time.

    Raises:
        ValueError: a number out of its range.
    """

    device_types = ("cpu",)

    def __init__(self, address: str | None = None, actors: int | None = None, num_cpus: int = 1):
        self.address = address
        self.asked = None if actors is None else at_least("actors", 1, actors)
        self.num_cpus = at_least("num_cpus", 1, num_cpus)
        self.own, self.theirs = CpuEngine(), CpuEngine(self.num_cpus)
        self.actors: list[Any] = []
        self.given: Any = None

    def setup(self, client: ClientModule, data: Split) -> None:
        """Connect, and have actors hold the model and the data."""
        super().setup(client, data)
        self.release()
        self.own.setup(client, data)
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        self.ray, _ = connected(address, len(os.sched_getaffinity(0)), "engine")
        carry_code(self.ray)
        # Held: an actor that is started again is given it once more.
        self.given = self.ray.put((self.theirs, client, data))
        number = self.asked or max(1, room(self.ray, {"CPU": self.num_cpus}))
        # A lane is trained anew wherever its actor was lost: it gives the same.
        kept = {"num_cpus": self.num_cpus, "max_restarts": _LOSSES, "max_task_retries": _LOSSES}
        actor = self.ray.remote(_Shard).options(**kept)
        self.actors = [actor.remote(self.given) for _ in range(number)]
        self.workers = number * self.num_cpus

    def release(self) -> None:
        """End the actors, which hold cores that other cells wait for."""
        for actor in self.actors:
            self.ray.kill(actor)
        self.actors.clear()
        self.given = None

    @property
    def kind(self) -> str:  # type: ignore[override]
        """That of the actors."""
        return self.own.kind

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train share after share; see :class:`Engine`."""
        theta, lanes = theta.detach(), plan.lanes
        updates = theta.new_empty(len(lanes), len(theta))
        losses = theta.new_empty(len(lanes))
        statistics = theta.new_empty(len(lanes), len(self.client.statistics()))
        shared = [i for i, lane in enumerate(lanes) if _is_plain(lane)]
        alone = [i for i, lane in enumerate(lanes) if not _is_plain(lane)]
        for places, trained in chain(
            self._shared(theta, plan, shared),
            [(alone, self.own.train(theta, _of(plan, alone)))] if alone else [],
        ):
            updates[places], losses[places] = trained.updates, trained.losses
            if trained.statistics is not None:
                statistics[places] = trained.statistics
        return Trained(updates, losses, statistics)

    def reduced(
        self, theta: Tensor, plans: Sequence[Plan], reduce: Callable[[int, Trained], Left]
    ) -> Iterator[Left]:
        """Each plan by an actor, where it is reduced too; see :class:`Engine`."""
        if not all(_is_plain(lane) for plan in plans for lane in plan.lanes):
            yield from super().reduced(theta, plans, reduce)
            return
        from ray.util import ActorPool

        given = self.ray.put((theta.detach().numpy(), reduce))

        def train(actor: Any, number: int) -> Any:
            return actor.reduced.remote(given, number, plans[number])

        yield from ActorPool(self.actors).map(train, range(len(plans)))

    def predictor(self, theta: Tensor) -> Predict:
        """This process's."""
        return self.own.predictor(theta)

    def gradient(
        self, theta: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """This process's."""
        return self.own.gradient(theta, images, labels)

    def _shared(
        self, theta: Tensor, plan: Plan, places: list[int]
    ) -> Iterator[tuple[list[int], Trained]]:
        """What the actors trained, share by share; as many wait to be read as there are actors."""
        from ray.util import ActorPool

        # The longest first, so that no actor ends up alone with it.
        places = sorted(places, key=lambda i: -sum(plan.lanes[i].sizes))
        size = min(-(-len(places) // (_SHARES * len(self.actors))), _LANES)
        shares = [places[first : first + size] for first in range(0, len(places), max(size, 1))]
        given = self.ray.put(theta.numpy())

        def train(actor: Any, share: list[int]) -> Any:
            return actor.train.remote(given, _of(plan, share))

        found = ActorPool(self.actors).map(train, shares)
        for share, trained in zip(shares, found, strict=True):
            yield share, Trained(*(torch.from_numpy(part.copy()) for part in trained))


def _is_plain(lane: Lane) -> bool:
    """Whether all that it does is to be trained: a rule may hold an adversary's whole state."""
    return type(lane.rule) is LocalRule and lane.loss is None


def _of(plan: Plan, places: Sequence[int]) -> Plan:
    return Plan(plan.round, [plan.lanes[i] for i in places])


class _Shard:
    """An actor: one engine on the model and the data."""

    def __init__(self, given: tuple[Engine, ClientModule, Split]):
        torch.set_num_threads(1)
        self.engine, client, data = given
        self.engine.setup(client, data)

    def train(self, theta: np.ndarray, plan: Plan) -> tuple[np.ndarray, ...]:
        """Updates, losses and statistics of these lanes."""
        trained = self.engine.train(torch.from_numpy(theta.copy()), plan)
        parts = (trained.updates, trained.losses, trained.statistics)
        return tuple(part.numpy() for part in parts if part is not None)

    def reduced(
        self, given: tuple[np.ndarray, Callable[[int, Trained], Left]], number: int, plan: Plan
    ) -> Left:
        """What is left of these lanes."""
        theta, reduce = given
        return reduce(number, self.engine.train(torch.from_numpy(theta.copy()), plan))
