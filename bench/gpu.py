"""The paper's round on a GPU: rounds per second, a whole run, and 300 clients a round.

    python -m bench.gpu --device cuda

Without a GPU, ``--device cpu --toy`` runs the same code at toy size.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch

from bench.measure import Spread, Variant, facts, interleave, say, seconds
from bench.report import Result, Table, arguments
from bench.variants import NAIVE, ready
from bench.workload import Workload, naive, paper_shaped
from benchmark.config.compose import compose
from benchmark.data.module import FederatedDataModule
from benchmark.run.assembly import build
from benchmark.run.recorder import Checkpoint, Recorder
from benchmark.run.trainer import trainer_of
from benchmark.utils.machine import one_thread, peak_memory_mb, reset_peak_memory

ENGINES = {
    "cuda, float32": ["engine=cuda"],
    "cuda, TF32": ["engine=cuda", "engine.precision=tf32"],
    "cuda, bfloat16": ["engine=cuda", "engine.precision=bf16"],
    "cuda, single lanes": ["engine=cuda", "engine.lanes=0"],
    "reference": ["engine=reference"],
}
ON_CPU = ("cuda, float32", "reference")
LIMITS = "25 rounds/s or more, 15 x the naive loop or more; 300 rounds in under 20 s"
USERS, TEST_IMAGES = 3383, 40832


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    model: str = "paper"
    clients: int = 30
    many: int = 300
    images: int = 100
    epochs: int = 5
    repeats: int = 9
    rounds: int = 300
    evaluate_every: int = 10
    users: int = USERS
    test_images: int = TEST_IMAGES


TOY = Size("small", 2, 4, 8, 1, 2, 3, 2, 40, 100)


@dataclass(frozen=True)
class Row:
    """Local training of K clients by one variant; device memory at its peak."""

    variant: str
    clients: int
    seconds: list[float]
    peak_mb: float
    how: str


@dataclass(frozen=True)
class Run:
    """A whole federation by Lightning's ``Trainer``, with or without a checkpoint every round."""

    rounds: int
    checkpoints: bool
    seconds: float
    main_accuracy: float


def local_training(size: Size, device: str) -> list[Row]:
    """Interleaved: the engines, and the naive loop for the smaller cohort."""
    rows = []
    for clients in (size.clients, size.many):
        say(f"{clients} clients")
        work = Workload.of(size.model, clients, size.images, size.epochs, device=device)
        users, found, how = range(clients), [], {}
        if clients == size.clients:
            loop = partial(naive, work)
            warm = partial(loop, users[:1])
            found.append(Variant(NAIVE, partial(loop, users), min(3, size.repeats), warm))
        for name, overrides in ENGINES.items():
            if device == "cpu" and name not in ON_CPU:
                continue
            if name == "reference" and clients == size.many:
                continue
            if made := ready(overrides, work):
                found.append(Variant(name, made, size.repeats, made))
                how[name] = made.engine
        memory = {}
        for variant in found:
            reset_peak_memory(device)
            variant.warm()
            memory[variant.name] = peak_memory_mb(device)
        taken = interleave(found, device)
        rows += [
            Row(name, clients, values, memory[name], how[name].kind if name in how else "")
            for name, values in taken.items()
        ]
    return rows


def whole_run(size: Size, device: str, checkpoints: bool) -> Run:
    """From the first round to the last, the engine's set-up and all evaluation included."""
    say(f"{size.rounds} rounds")
    overrides = [
        "engine=cuda",
        "tracking=none",
        f"model={size.model}",
        "federation=paper",
        f"federation.rounds={size.rounds}",
        f"federation.clients_per_round={size.clients}",
        f"federation.local_epochs={size.epochs}",
        f"federation.evaluate_every={size.evaluate_every}",
        "task.num_tasks=1",
    ]
    dataset = paper_shaped(size.users, size.images, size.test_images)
    federation = build(compose(overrides), dataset)
    recorder = Recorder()
    callbacks: list[pl.Callback] = [recorder]
    with tempfile.TemporaryDirectory() as folder:
        if checkpoints:
            callbacks.append(Checkpoint(Path(folder), "bench", every=1))
        trainer = trainer_of(size.rounds, device, callbacks)
        with one_thread():
            took = seconds(lambda: trainer.fit(federation, FederatedDataModule(dataset)), device)
    return Run(size.rounds, checkpoints, took, recorder.curves["main_accuracy"].values[-1])


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    asked = parser.parse_args(given)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is visible; --device cpu --toy runs the same code")
    about = facts("bench.gpu", sys.argv[1:] if given is None else given, asked.device)
    # float32 means float32 in all of this.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size = TOY if asked.toy else Size()
    rows = local_training(size, asked.device)
    runs = [whole_run(size, asked.device, checkpoints) for checkpoints in (False, True)]
    result = Result(
        "gpu",
        about,
        {"rows": [asdict(row) for row in rows], "runs": [asdict(run) for run in runs]},
        [_rounds(size, rows), _runs(size, runs)],
        [f"What must hold on one H200, float32: {LIMITS}."],
    )
    result.publish(asked.out)
    return asked.out / "gpu.json"


def _rounds(size: Size, rows: Sequence[Row]) -> Table:
    base = Spread.of(next(row.seconds for row in rows if row.variant == NAIVE)).median
    columns = ("clients", "variant", "median s", "Q1", "Q3", "rounds/s", "x naive", "peak MiB")
    cells = []
    for row in rows:
        spread = Spread.of(row.seconds)
        # The naive loop's clients come one after the other.
        speed = base * row.clients / size.clients / spread.median
        times = (spread.median, spread.low, spread.high, 1 / spread.median)
        cells.append((row.clients, row.variant, *times, speed, row.peak_mb))
    return Table(f"local training of a round, model {size.model}", columns, cells)


def _runs(size: Size, runs: Sequence[Run]) -> Table:
    title = f"{size.rounds} rounds, evaluation on {size.test_images:,} images every "
    title += f"{size.evaluate_every}"
    cells = [
        ("every round" if run.checkpoints else "none", run.seconds, run.seconds / run.rounds)
        for run in runs
    ]
    return Table(title, ("checkpoints", "s", "s a round"), cells)


if __name__ == "__main__":
    main()
