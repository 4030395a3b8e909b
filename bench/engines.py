"""One round's local training, engine beside engine: interleaved, medians with their spread.

    python bench/engines.py --model small --clients 10 --repeats 5

Every variant trains the same clients on the same data (digits5k, 5 epochs, batches of 20). Times
mean nothing between machines, and little on a busy one; the ratios of one run do.
"""

import argparse
import copy
import json
import logging
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

from benchmark.building import build
from benchmark.cell import Cell
from benchmark.client import ClientModule
from benchmark.data.module import FederatedDataModule
from benchmark.data.store import load
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation import Federation
from benchmark.machine import one_thread

EPOCHS, BATCH = 5, 20
GEMM_SIZE = 1536


def naive(federation: Federation, users: list[int]) -> None:
    """What most simulators do: a deep copy, a DataLoader and an optimizer for each client."""
    data = FederatedDataModule(federation.dataset)
    for user in users:
        client = copy.deepcopy(federation.client).train()
        optimizer = client.configure_optimizers()
        loader = data.client_dataloader(user, BATCH)
        for _ in range(EPOCHS):
            for images, labels in loader:
                optimizer.zero_grad()
                client.loss(client(images), labels).backward()
                optimizer.step()


def trainer_each(federation: Federation, users: list[int]) -> None:
    """A Lightning Trainer for each client."""
    data = FederatedDataModule(federation.dataset)
    for user in users:
        client: ClientModule = copy.deepcopy(federation.client)
        pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(client, data.client_dataloader(user, BATCH))


def engine_round(federation: Federation, plan: Plan, engine: CpuEngine | ReferenceEngine):
    """A round of one of our engines."""
    engine.setup(federation.client, federation.dataset.train)
    theta = federation.theta.detach()

    def train() -> None:
        with one_thread():
            engine.train(theta, plan)

    return train


def gemm_peak() -> float:
    """GFLOP/s of a large matrix product on all cores, float32; the best of ten."""
    a = torch.rand(GEMM_SIZE, GEMM_SIZE)
    best = min(seconds(lambda: a @ a) for _ in range(10))
    return 2 * GEMM_SIZE**3 / best / 1e9


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="small", choices=("small", "paper"))
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    asked = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    cell = Cell.of(
        [f"model={asked.model}", f"federation.clients_per_round={asked.clients}", "tracking=none"]
    )
    federation = build(cell.config, load(cell.data))
    _, federation.backdoor = federation.task.plant(federation.dataset)
    federation.train_labels = federation.dataset.train.labels
    cohort = federation.sample_cohort(0)
    users, plan = cohort.clients.tolist(), federation.plan(0, cohort)
    variants: dict[str, Callable[[], object]] = {
        "naive loop": lambda: naive(federation, users),
        "Trainer.fit for each client": lambda: trainer_each(federation, users),
        "engine reference": engine_round(federation, plan, ReferenceEngine()),
        "engine cpu, autograd": engine_round(federation, plan, CpuEngine(compiled=False)),
        "engine cpu, compiled": engine_round(federation, plan, CpuEngine()),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(asked.repeats + 1):
        for name, work in variants.items():
            took = seconds(work)
            if repeat:  # the first warms up
                taken[name].append(took)
        print(f"round {repeat} of {asked.repeats}", file=sys.stderr)
    facts = {
        "date": str(date.today()),
        "command": f"python bench/engines.py --model {asked.model} --clients {asked.clients} "
        f"--repeats {asked.repeats}",
        "device": f"{torch.get_num_threads()} CPU threads, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "torch": version("torch"),
        "gemm_gflops": gemm_peak(),
        "local_steps": sum(lane.num_steps for lane in plan.lanes),
        "seconds": taken,
    }
    base = statistics.median(taken["naive loop"])
    table = Table("variant", "median s", "min", "max", "times the naive loop's speed")
    for name, values in taken.items():
        middle = statistics.median(values)
        cells = [middle, min(values), max(values), base / middle]
        table.add_row(name, *(f"{value:.3g}" for value in cells))
    Console().print(table)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
