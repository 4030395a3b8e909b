"""Small things that the tests of the core are made of: data, a network, federations."""

import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from benchmark.attacks.base import Attack
from benchmark.attacks.none import NoAttack
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.module import FederatedDataModule
from benchmark.defenses.base import Defense, DefenseContext
from benchmark.defenses.mean import Mean
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation.participation import FixedFrequency, Participation
from benchmark.federation.protocol import Protocol
from benchmark.federation.rounds import Federation
from benchmark.tasks.base import Task
from benchmark.tasks.writer_backdoor import WriterBackdoor

NUM_CLASSES = 10


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_split(sizes: Sequence[int], source: torch.Generator) -> Split:
    """Black and white noise, so that pixels are exact in every precision."""
    n = sum(sizes)
    return Split(
        images=torch.randint(2, (n, 28, 28), generator=source).mul(255).to(torch.uint8),
        labels=torch.randint(NUM_CLASSES, (n,), generator=source),
        offsets=torch.tensor([0, *sizes]).cumsum(0),
    )


def make_dataset(sizes: Sequence[int] = (12, 30, 7, 25, 18, 40), seed: int = 0) -> FederatedDataset:
    """As many users as ``sizes``, each with half as many test images."""
    source = seeded(seed)
    train = make_split(sizes, source)
    test = make_split([n // 2 for n in sizes], source)
    return FederatedDataset(train, test, NUM_CLASSES, {"name": "toy", "user_kind": "writers"})


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
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        # Advice on loader workers, and pytorch-lightning's own use of what torch deprecates.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", message="GPU available but not used")
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)


def defense_context(P: int, K: int, round: int = 0, seed: int = 0) -> DefenseContext:
    return DefenseContext(
        round=round,
        seed=seed,
        theta=torch.zeros(P),
        clients=torch.arange(K),
        layers={"first": slice(0, P // 2), "second": slice(P // 2, P)},
    )
