"""A process that holds the updates of a cohort and aggregates them when it is told to, timed.

One command a line on stdin, one answer a line on stdout, all JSON. It runs in the peers'
environment too, so it knows torch and NumPy alone.
"""

import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.utils.machine import peak_memory_mb, reset_peak_memory

SHOWN = 30_000
"""Parameters up to which an answer holds the update itself."""

Aggregate = Callable[[Tensor], object]
"""From ``(K, P)`` to the update, as an array or a tensor."""


def drawn(clients: int, parameters: int, exact: bool) -> Tensor:
    """Normal updates of length 1 or so ``(K, P)``, the same in every process."""
    kind = np.dtype("float64" if exact else "float32").type
    found = np.random.default_rng(0).standard_normal((clients, parameters), dtype=kind)
    found *= kind(parameters**-0.5)
    return torch.from_numpy(found)


def serve(made: Callable[[str, Tensor], Aggregate]) -> None:
    """Answer until nobody asks any more.

    Args:
        made: from the name of a rule and updates of its size to what is timed.
    """
    updates = torch.empty(0)
    rules: dict[str, Aggregate] = {}
    for line in sys.stdin:
        told = json.loads(line)
        try:
            if "clients" in told:
                rules.clear()
                updates = torch.empty(0)
                updates = drawn(told["clients"], told["parameters"], told["exact"])
                updates = updates.to(told["device"])
                _limit(told["limit_mb"])
                answer: dict[str, Any] = {"threads": torch.get_num_threads()}
            else:
                name = told["rule"]
                if name not in rules:
                    rules.clear()
                    rules[name] = made(name, updates)
                answer = _timed(rules[name], updates)
        except Exception as error:  # a peer's errors are of any kind
            rules.clear()
            answer = {"error": f"{type(error).__name__}: {error}".partition("\n")[0][:200]}
        print(json.dumps(answer), flush=True)


def _timed(aggregate: Aggregate, updates: Tensor) -> dict[str, Any]:
    device = updates.device.type
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory(device)
    before = torch.cuda.memory_allocated() / 2**20 if device == "cuda" else _resident_mb()
    _wait(device)
    start, busy = time.perf_counter(), time.process_time()
    update = aggregate(updates)
    _wait(device)
    answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
    answer["cpu_seconds"] = time.process_time() - busy
    answer["extra_mb"] = max(peak_memory_mb(device) - before, 0)
    if updates.shape[1] <= SHOWN:
        values = update.cpu() if isinstance(update, Tensor) else update
        answer["update"] = np.asarray(values, dtype=np.float64).tolist()
    return answer


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _limit(megabytes: int) -> None:
    """At most so much more memory than now; 0 for no limit."""
    if megabytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
