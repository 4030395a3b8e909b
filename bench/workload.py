"""The work that is timed: cohorts of the paper's shape, and what simulators usually do with one."""

import copy
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

from benchmark.config.compose import compose
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.store import load
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, Lane, LocalClient, Plan
from benchmark.run.assembly import make
from benchmark.run.partitioning import partitioned
from benchmark.utils.randomness import generator

LR = 0.1
SEED = 0
COLORED = ("resnet8",)
"""Models that get color images."""


def paper_shaped(users: int, images: int = 100, test_images: int = 1000) -> FederatedDataset:
    """Users of equally many training images, drawn from digits5k; no user has an image twice.

    Federated EMNIST has 100 to 120 images a writer, 3,383 writers and 40,832 test images.

    Args:
        users: N.
        images: training images of each user, at most the 4,000 or so that there are.
        test_images: of all users together.
    """
    folder, _ = partitioned(compose(["data=digits5k", "tracking=none"]))
    real = _resident(folder.resolve())
    source = generator(SEED, 0, "bench/users")
    n = len(real.train)
    drawn = torch.cat([torch.randperm(n, generator=source)[:images] for _ in range(users)])
    tested = torch.randint(len(real.test), (test_images,), generator=source)
    return replace(
        real,
        train=_split(real.train, drawn, torch.arange(users + 1) * images),
        test=_split(real.test, tested, torch.arange(users + 1) * test_images // users),
        facts={**real.facts, "name": "digits5k, in the paper's shape", "users": users},
    )


@lru_cache(maxsize=1)
def _resident(folder: Path) -> FederatedDataset:
    return load(folder)


def _split(real: Split, chosen: Tensor, offsets: Tensor) -> Split:
    return Split(real.images[chosen], real.labels[chosen], offsets)


def colored(data: Split) -> Split:
    """The same digits as color images of 32 × 32, the shape of CIFAR-10's."""
    framed = pad(data.images, (2, 2, 2, 2), value=255)
    return replace(data, images=framed.expand(-1, 3, -1, -1).contiguous())


@dataclass(frozen=True)
class Workload:
    """The local training of one round: K clients, S = images · epochs / batch steps each.

    Attributes:
        model: as it would be without this benchmark, with ``nn.Dropout``.
        data: of K users with equally many images, on the CPU.
        epochs, batch: local training; 5 and 20 in the paper, 25 steps for 100 images.
        device: where the work is done.
    """

    model: nn.Module
    data: Split
    epochs: int = 5
    batch: int = 20
    device: str = "cpu"

    @staticmethod
    def of(
        model: str | nn.Module,
        clients: int,
        images: int = 100,
        epochs: int = 5,
        batch: int = 20,
        device: str = "cpu",
    ) -> "Workload":
        """A model, by its name in ``conf/model`` or any other, and a cohort to train it."""
        built = named(model) if isinstance(model, str) else model
        data = paper_shaped(clients, images, test_images=1).train
        data = colored(data) if model in COLORED else data
        return Workload(built.to(device), data, epochs, batch, device)

    @cached_property
    def client(self) -> ClientModule:
        """What the engines train."""
        return ClientModule(copy.deepcopy(self.model), LR).to(self.device)

    @cached_property
    def theta(self) -> Tensor:
        """The global model, ``(P,)``."""
        return self.client.flat()

    @cached_property
    def resident(self) -> Split:
        """The data on the device."""
        return self.data.to(self.device)

    @cached_property
    def plan(self) -> Plan:
        """The round, as the federation plans it for honest clients."""
        return Plan(0, [self._lane(user) for user in range(self.clients)])

    @property
    def clients(self) -> int:
        """K."""
        return self.data.num_users

    @property
    def brief(self) -> Plan:
        """The same cohort with a few steps for each client: to warm up on.

        As many as ``auto`` chooses by, which one step might mislead.
        """
        return Plan(0, [lane.first(4) for lane in self.plan.lanes])

    def _lane(self, user: int) -> Lane:
        indices = self.data.user(user)
        local = Examples(indices, self.data.labels[indices])
        return LocalClient(local, self.epochs, self.batch, SEED, 0, user).honest_lane()

    def loader(self, user: int) -> DataLoader[tuple[Tensor, ...]]:
        """A client's data as most simulators feed them, on the CPU."""
        indices = self.data.user(user)
        tensors = TensorDataset(self.data.pixels(indices), self.data.labels[indices])
        source = generator(SEED, user, "bench/loader")
        return DataLoader(tensors, batch_size=self.batch, shuffle=True, generator=source)


def named(model: str) -> nn.Module:
    """A model of ``conf/model``, with the same weights each time."""
    section = compose([f"model={model}", "tracking=none"])["model"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make("model", section, num_classes=10)


def naive(work: Workload, users: Sequence[int]) -> Tensor:
    """What most simulators do: a deep copy, a DataLoader and an optimizer for each client.

    Returns:
        Client updates, ``(K, P)``.
    """
    start, updates = parameters_to_vector(work.model.parameters()).detach(), []
    for user in users:
        model = copy.deepcopy(work.model).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=LR)
        loader = work.loader(user)
        for _ in range(work.epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                logits = model(images.to(work.device))
                cross_entropy(logits, labels.to(work.device)).backward()
                optimizer.step()
        updates.append(parameters_to_vector(model.parameters()).detach() - start)
    return torch.stack(updates)


def trainer_each(work: Workload, users: Sequence[int]) -> Tensor:
    """A Lightning ``Trainer`` for each client.

    Returns:
        Client updates, ``(K, P)``.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    updates = []
    for user in users:
        client = copy.deepcopy(work.client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on loader workers
            pl.Trainer(
                max_epochs=work.epochs,
                accelerator="gpu" if work.device == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(client, work.loader(user))
        updates.append(client.to(work.device).flat() - work.theta)
    return torch.stack(updates)
