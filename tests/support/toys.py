"""Small things that the tests of the core are made of: data, a network, federations."""

import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from benchmark.attacks.base import Attack
from benchmark.attacks.none import NoAttack
from benchmark.data.dataset import FederatedDataset
from benchmark.data.module import FederatedDataModule
from benchmark.defenses.base import Defense
from benchmark.defenses.mean import Mean
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation.participation import FixedFrequency, Participation
from benchmark.federation.protocol import Protocol
from benchmark.federation.rounds import Federation
from benchmark.run.trainer import trainer_of
from benchmark.tasks.base import Task
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import NUM_CLASSES, make_dataset


class TinyNet(nn.Module):
    """A smooth network of 16 · 8 + 8 + 8 · 10 + 10 = 226 parameters."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(7),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(16, 8),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(8, NUM_CLASSES),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def tiny_client(dropout: float = 0.0, lr: float = 0.1, seed: int = 0) -> ClientModule:
    """A client in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClientModule(TinyNet(dropout), lr).double()


def protocol(**changes: Any) -> Protocol:
    chosen: dict[str, Any] = {
        "rounds": 3,
        "clients_per_round": 3,
        "replacement": False,
        "weighting": "uniform",
        "local_epochs": 2,
        "batch_size": 4,
        "client_lr": 0.1,
        "server_lr": 1.0,
        "evaluate_every": 1,
        "checkpoint_every": 1,
        "measured_on": "all",
    }
    return Protocol(**chosen | changes)


def make_federation(
    dataset: FederatedDataset | None = None,
    *,
    client: ClientModule | None = None,
    task: Task | None = None,
    attack: Attack | None = None,
    participation: Participation | None = None,
    defense: Defense | None = None,
    engine: Engine | None = None,
    seed: int = 0,
    **changes: Any,
) -> Federation:
    """A tiny federation; ``changes`` are to the protocol."""
    chosen = protocol(**changes)
    return Federation(
        client=client or tiny_client(lr=chosen.client_lr),
        dataset=dataset or make_dataset(),
        task=task or WriterBackdoor(num_tasks=2),
        attack=attack or NoAttack(),
        participation=participation or FixedFrequency(),
        defense=defense or Mean(),
        engine=engine or ReferenceEngine(),
        protocol=chosen,
        seed=seed,
    )


def fit(
    module: pl.LightningModule,
    data: Any = None,
    *,
    epochs: int | None = None,
    callbacks: Sequence[pl.Callback] = (),
    resume: str | None = None,
) -> None:
    """``Trainer.fit`` on the CPU; a federation brings its data and its number of rounds."""
    if isinstance(module, Federation):
        data = FederatedDataModule(module.dataset)
        epochs = epochs or module.protocol.rounds
    with warnings.catch_warnings():
        # Advice on loader workers.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        trainer = trainer_of(epochs or 1, "cpu", list(callbacks))
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
