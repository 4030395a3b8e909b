"""A residual network on color images: what was tried to train it faster, and what reading costs.

    python -m bench.color

Seconds of CPU time on one thread, in turns, so that other load matters little. Inductor takes a
minute to compile, and wants a C++ compiler.
"""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.measure import Spread, facts, say
from bench.report import Result, Table, Value, arguments
from bench.variants import ready
from bench.workload import LR, Workload, named
from benchmark.utils.machine import one_thread

CLIENTS, IMAGES, READ, TIMES = 10, 100, 10_000, 9
NOTES = (
    "Step: forward, backward and SGD of resnet8 on 20 images of 3 x 32 x 32 on one thread; first: "
    "wall-clock seconds of the first call, which compiles. Round: 10 clients of 100 images, 5 "
    "epochs in batches of 20, and reading 10,000 images, by engine cpu on all cores. CPU time.",
)


def step(model: nn.Module, images: Tensor, labels: Tensor, loss: Callable[..., Tensor]) -> None:
    """One local step of plain SGD."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(model, images, labels), parameters)
    with torch.no_grad():
        torch._foreach_add_(parameters, gradients, alpha=-LR)


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy."""
    return cross_entropy(model(images), labels)


def steps(compiled: bool, batch: int) -> dict[str, Callable[[], None]]:
    """One step, each way."""
    source = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, 32, 32, generator=source)
    labels = torch.randint(10, (batch,), generator=source)
    innermost = images.to(memory_format=torch.channels_last)
    found = {
        "as it comes": partial(step, named("resnet8"), images, labels, loss),
        "channels innermost": partial(step, named("resnet8"), innermost, labels, loss),
    }
    if compiled:
        for name, seen in (("Inductor", images), ("Inductor, innermost", innermost)):
            own = torch.compile(lambda *given: loss(*given), dynamic=False)
            found[name] = partial(step, named("resnet8"), seen, labels, own)
    return found


def seconds(works: dict[str, Callable[[], object]], times: int) -> dict[str, list[float]]:
    """CPU time of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return taken


def first(work: Callable[[], object]) -> float:
    """Wall-clock time of a first call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.color", sys.argv[1:] if given is None else given)
    compiled = not asked.toy and shutil.which("g++") is not None
    times = 2 if asked.toy else TIMES
    with one_thread():
        ways = steps(compiled, 2 if asked.toy else 20)
        compiling = {name: first(work) for name, work in ways.items()}
        say("first calls done")
        taken = seconds(ways, 3 * times)
    base = Spread.of(taken["as it comes"]).median
    rows: list[Sequence[Value]] = []
    for name, values in taken.items():
        s = Spread.of(values)
        rows.append((name, 1e3 * s.median, 1e3 * s.low, 1e3 * s.high, base / s.median))
        rows[-1] = (*rows[-1], compiling[name])
    clients, images, read = (2, 8, 20) if asked.toy else (CLIENTS, IMAGES, READ)
    work = Workload.of("resnet8", clients, images)
    engine = ready(["engine=cpu"], work)
    assert engine
    pictures = torch.rand(read, *work.data.input_shape)

    def evaluate() -> None:
        with one_thread(), torch.no_grad():
            engine.engine.predictor(work.theta)(pictures)

    cost = seconds({"round": engine, "reading": evaluate}, 3 if asked.toy else 5)
    of_round, of_reading = (Spread.of(cost[name]).median for name in ("round", "reading"))
    shares = Table(
        f"a round of {clients} clients, and reading {read:,} images",
        ("round s", "reading s", "% of a round, read every round", "every 10th"),
        [(of_round, of_reading, 100 * of_reading / of_round, 10 * of_reading / of_round)],
    )
    columns = ("way", "ms", "Q1", "Q3", "x as it comes", "first s")
    Result(
        "color",
        about,
        {"steps": taken, "first": compiling, "round": cost},
        [Table("a step of resnet8, one thread", columns, rows), shares],
        NOTES,
    ).publish(asked.out)
    return asked.out / "color.json"


if __name__ == "__main__":
    main()
