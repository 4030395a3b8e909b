"""What contracts run on: noise as data, one round's context, a federation of two short rounds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.config.compose import compose
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.module import FederatedDataModule
from benchmark.defenses.base import DefenseContext
from benchmark.engine.client import ClientModule, Layer
from benchmark.engine.plan import Examples
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.rounds import Federation
from benchmark.run.assembly import build
from benchmark.run.trainer import trainer_of

NUM_CLASSES = 10


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_split(
    sizes: Sequence[int], source: torch.Generator, image: Sequence[int] = (1, 28, 28)
) -> Split:
    """Black and white noise, so that pixels are exact in every precision."""
    n = sum(sizes)
    return Split(
        images=torch.randint(2, (n, *image), generator=source).mul(255).to(torch.uint8),
        labels=torch.randint(NUM_CLASSES, (n,), generator=source),
        offsets=torch.tensor([0, *sizes]).cumsum(0),
    )


def make_dataset(
    sizes: Sequence[int] = (12, 30, 7, 25, 18, 40),
    seed: int = 0,
    image: Sequence[int] = (1, 28, 28),
) -> FederatedDataset:
    """As many users as ``sizes``, each with half as many test images."""
    source = seeded(seed)
    train = make_split(sizes, source, image)
    test = make_split([n // 2 for n in sizes], source, image)
    return FederatedDataset(train, test, NUM_CLASSES, {"name": "toy", "user_kind": "writers"})


def defense_context(P: int, K: int, round: int = 0, seed: int = 0) -> DefenseContext:
    """Of arrays of two layers, for K different clients."""
    half = P // 2
    layers = (
        Layer("first", slice(0, half), (half,)),
        Layer("second", slice(half, P), (P - half,), is_output=True),
    )
    return DefenseContext(round, seed, torch.zeros(P), torch.arange(K), layers)


def toy_network() -> nn.Sequential:
    """A convolution and an output layer, of 40 + 370 = 410 parameters, all of them 0."""
    network = nn.Sequential(
        nn.AvgPool2d(4), nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, NUM_CLASSES)
    )
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


def model_context(K: int, round: int = 0, dtype: torch.dtype = torch.float32) -> DefenseContext:
    """Of :func:`toy_network`, for K different clients and a server that has 40 images."""
    client = ClientModule(toy_network(), lr=0.1).to(dtype)
    data = make_split([40], seeded(7))
    root = Examples(torch.arange(40), data.labels)
    engine = ReferenceEngine()
    engine.setup(client, data)
    workbench = Workbench(client, engine, data)
    # Drawn in one precision: another would draw other numbers.
    updated = torch.randn(client.num_parameters, generator=seeded(8)).to(dtype) / 20
    theta, clients = client.flat(), torch.arange(K)
    return DefenseContext(round, 0, theta, clients, client.layers, updated, root, workbench)


def federation(sections: Mapping[str, Mapping[str, Any]], *overrides: str) -> Federation:
    """Two rounds over six users, built as the command line builds them.

    Args:
        sections: resolved groups of the configuration, instead of the default choices.
        overrides: of the default configuration.
    """
    protocol = {"rounds": 2, "clients_per_round": 5, "local_epochs": 1, "batch_size": 8}
    quick = [f"federation.{key}={value}" for key, value in protocol.items()]
    config = compose(["model=small", "engine=reference", "task.num_tasks=2", *quick, *overrides])
    return build({**config, **sections}, make_dataset())


def fit(federation: Federation) -> None:
    """All its rounds."""
    trainer = trainer_of(federation.protocol.rounds, "cpu", [])
    trainer.fit(federation, FederatedDataModule(federation.dataset))


@contextmanager
def untouched(*tensors: Tensor | None) -> Iterator[None]:
    """Fails where what happens inside changes one of these."""
    watched = [tensor for tensor in tensors if tensor is not None]
    before = [tensor.clone() for tensor in watched]
    yield
    assert all(torch.equal(one, other) for one, other in zip(before, watched, strict=True))
