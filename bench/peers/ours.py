"""This project's side: a round of the cpu engine, or of the loop that most simulators are."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from bench.peers.rounds import Rounds
from bench.peers.work import BATCH, EPOCHS, LR, Work
from bench.workload import Workload, naive
from benchmark.data.dataset import Split
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Lane, Plan
from benchmark.utils.machine import one_thread
from benchmark.utils.randomness import derive


def resident(work: Work) -> Split:
    """The cohort's images, user after user."""
    return Split(
        torch.from_numpy(work.images).flatten(end_dim=1),
        torch.from_numpy(work.labels).flatten(),
        torch.arange(work.clients + 1) * work.labels.shape[1],
    )


def lane(data: Split, user: int, round: int) -> Lane:
    """A client's batches in the stored order."""
    indices = data.user(user).view(-1, BATCH).repeat(EPOCHS, 1)
    steps = len(indices)
    return Lane(
        indices=indices,
        labels=data.labels[indices],
        sizes=(BATCH,) * steps,
        epoch_ends=(False,) * steps,
        dropout_seed=derive(0, round, f"bench/dropout/{user}"),
    )


def engine(work: Work) -> Iterator[Tensor]:
    """Global models, round after round."""
    data, client, cpu = resident(work), ClientModule(work.network(), LR), CpuEngine()
    cpu.setup(client, data)
    theta, round = client.flat(), 0
    while True:
        plan = Plan(round, [lane(data, user, round) for user in range(work.clients)])
        with one_thread():
            theta = theta + cpu.train(theta, plan).updates.mean(dim=0)
        yield theta
        round += 1


def loop(work: Work) -> Iterator[Tensor]:
    """As ``engine``, one client after the other, each with a model and a loader of its own."""
    load = Workload(work.network(), resident(work), EPOCHS, BATCH)
    theta = torch.from_numpy(work.theta)
    while True:
        theta = theta + naive(load, range(work.clients)).mean(dim=0)
        vector_to_parameters(theta, load.model.parameters())
        yield theta


SIMULATORS: dict[str, Callable[[Work], Iterator[Tensor]]] = {"engine": engine, "loop": loop}


def main(name: str, folder: Path) -> None:
    rounds = Rounds(folder, ["pytorch-lightning"])
    models = SIMULATORS[name](Work.read(folder))
    rounds.ready()
    while rounds.begin():
        rounds.end([next(models)])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
