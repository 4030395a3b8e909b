"""Defenses run where torch, Lightning, numpy, scipy and scikit-learn are, and nothing else is."""

import subprocess
import sys

from tests.support.running import ROOT, environment

PROGRAM = """
import importlib, pkgutil, sys, warnings

warnings.simplefilter("ignore")
ABSENT = ("hydra", "omegaconf", "pydantic", "mlflow", "optuna", "dvc", "jinja2",
          "markdown_it", "pytest", "dp_accounting", "flwr", "mlxtend", "pooch")
# As if they were not installed; what other packages look for by its metadata stays.
sys.modules.update(dict.fromkeys(ABSENT))

import torch
import benchmark.defenses
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.module import FederatedDataModule
from benchmark.defenses.base import Defense
from benchmark.engine.client import ClientModule
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation.participation import FixedFrequency
from benchmark.federation.protocol import Protocol
from benchmark.federation.rounds import Federation
from benchmark.attacks.boosted import Boosted
from benchmark.tasks.writer_backdoor import WriterBackdoor

import pytorch_lightning as pl


def split(n):
    source = torch.Generator().manual_seed(n)
    images = torch.randint(256, (6 * n, 1, 28, 28), generator=source).to(torch.uint8)
    return Split(images, torch.arange(6 * n) % 10, torch.arange(0, 6 * n + 1, n))


modules = [m.name for m in pkgutil.iter_modules(benchmark.defenses.__path__)]
classes = {
    c
    for m in modules
    for c in vars(importlib.import_module(f"benchmark.defenses.{m}")).values()
    if isinstance(c, type) and issubclass(c, Defense) and "paper" in vars(c)
}
for made in sorted(classes, key=lambda c: c.__name__):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Conv2d(1, 4, 3, 2), torch.nn.ReLU(),
                                torch.nn.Flatten(), torch.nn.Linear(36, 10))
    protocol = Protocol(rounds=1, clients_per_round=9, replacement=True, weighting="uniform",
                        local_epochs=1, batch_size=8, client_lr=0.1, server_lr=1.0,
                        evaluate_every=1, checkpoint_every=1, measured_on="all", root_images=20)
    federation = Federation(client=ClientModule(model, 0.1),
                            dataset=FederatedDataset(split(30), split(10), 10, {}),
                            task=WriterBackdoor(2), attack=Boosted(),
                            participation=FixedFrequency(),
                            defense=made(**made.in_tests), engine=ReferenceEngine(),
                            protocol=protocol, seed=0)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(federation, FederatedDataModule(federation.dataset))
    assert federation.result.isfinite().all(), made
print(len(classes))
"""


def test_a_round_of_each_runs_without_the_tracking_stack() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(ROOT),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 38
