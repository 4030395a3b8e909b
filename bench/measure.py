"""How things are timed: interleaved, with their spread, beside what the machine could do."""

import copy
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmark.utils.machine import environment

GEMM_SIZES = (768, 1024, 1536, 2048)
CUDA_GEMM_SIZES = (4096, 8192)
BUSY = 1.0


@dataclass(frozen=True)
class Variant:
    """One way to do the work.

    Attributes:
        name: its row in the table.
        work: does it once.
        repeats: how often it is timed.
        warm: done once before, so that nothing is timed that happens only once.
    """

    name: str
    work: Callable[[], object]
    repeats: int
    warm: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample of size ``count``."""

    median: float
    low: float
    high: float
    count: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        if len(values) == 1:
            return Spread(values[0], values[0], values[0], 1)
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(middle, low, high, len(values))


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Wall-clock time of one call, with what it left running on the device."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def interleave(
    variants: Sequence[Variant],
    device: str = "cpu",
    between: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every variant, one after the other and then again.

    Load from elsewhere then meets all of them alike, and their ratios stay true.

    Args:
        variants: timed ``repeats`` times each, the ones with fewer in the first rounds.
        device: that they work on.
        between: called before every round of them.
    """
    for variant in variants:
        variant.warm()
    taken: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for repeat in range(max(variant.repeats for variant in variants)):
        between()
        for variant in variants:
            if repeat < variant.repeats:
                taken[variant.name].append(seconds(variant.work, device))
                say(f"  {variant.name}: {taken[variant.name][-1]:.3g} s")
    return taken


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


class Peak:
    """GFLOP/s of large float32 matrix products on all cores: what the machine can do.

    Other load disturbs it, so it is measured at several moments; the best of all counts.
    """

    def __init__(self, device: str = "cpu", sizes: Sequence[int] | None = None, repeats: int = 3):
        default = CUDA_GEMM_SIZES if device == "cuda" else GEMM_SIZES
        self.device, self.sizes, self.repeats = device, sizes or default, repeats
        self.moments: list[float] = []

    def measure(self) -> None:
        """Note the best of a few products now."""
        rates = []
        for size in self.sizes:
            a = torch.rand(size, size, device=self.device)
            took = min(seconds(partial(torch.mm, a, a), self.device) for _ in range(self.repeats))
            rates.append(2 * size**3 / took / 1e9)
        self.moments.append(max(rates))

    @property
    def gflops(self) -> float:
        """The best so far."""
        return max(self.moments)


def training_flops(model: nn.Module, batch: int = 1, image: Sequence[int] = (1, 28, 28)) -> int:
    """Floating-point operations of one local step, forward and backward, as if all were dense.

    A multiply-add counts as two; what multiplies by the zeros of ReLU and max-pooling counts too,
    so code that leaves those out may exceed the machine's peak.
    """
    model = copy.deepcopy(model).cpu().train()
    images = torch.zeros(batch, *image, dtype=next(model.parameters()).dtype)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(images), torch.zeros(batch, dtype=torch.int64)).backward()
    return counter.get_total_flops()


def facts(module: str, arguments: Iterable[str], device: str = "cpu") -> dict[str, Any]:
    """When, where and with what something is measured; says so where the machine is busy."""
    if (load := os.getloadavg()[0]) >= BUSY:
        say(f"load {load:.1f}: the machine is busy, and loops on torch's own threads suffer most")
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m", module, *arguments]),
        "device": device_name(device),
        "versions": environment(),
        "load_before": list(os.getloadavg()),
    }


def device_name(device: str) -> str:
    """What computes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next(
            (s.partition(":")[2].strip() for s in lines if s.startswith("model name")), name
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {cores} cores, {torch.get_num_threads()} torch threads, {capability}"
