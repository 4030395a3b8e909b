"""What it costs to run cells on Ray instead of in processes of this machine.

    python -m bench.executors

The default suite's 54 cells, on two workers, under `local` and under `ray` in turn, from start to
end, each in a process of its own, as a command has it: both start what they fork from, `ray` its
cluster too. Records and models must be the same. Then 1,000 cells that train as little as can be,
on a cluster that is there already.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.measure import facts, say
from bench.report import Result, Table, Value, arguments
from benchmark.run.cell import Cell
from benchmark.run.events import Finished, Started
from benchmark.run.executors.base import Executor
from benchmark.run.executors.local import LocalExecutor
from benchmark.run.executors.ray import RayExecutor
from benchmark.run.suite import Suite

WORKERS = 2
LIMIT, LIMIT_SECONDS, MANY = 1.15, 60.0, 1000
SMALLEST = [
    *("data=digits5k", "task.num_tasks=1", "tracking=none", "federation.rounds=1"),
    *("federation.clients_per_round=1", "federation.local_epochs=1", "engine=cpu"),
]


def many(count: int) -> list[Cell]:
    """The same cell with other seeds, as its configuration is composed once."""
    one = Cell.of(SMALLEST)
    return [replace(one, config={**one.config, "seed": seed}) for seed in range(count)]


@dataclass(frozen=True)
class Ran:
    """Seconds of cells until the first begins and until all have ended, and what came out."""

    begun: float
    ended: float
    found: dict[str, Any]


def ran(executor: Executor, cells: Sequence[Cell]) -> Ran:
    """Run cells."""
    start, begun, found = time.monotonic(), 0.0, {}
    with tempfile.TemporaryDirectory() as folder:
        for event in executor.run(cells, Path(folder) / "suite"):
            if isinstance(event, Started):
                begun = begun or time.monotonic() - start
            elif isinstance(event, Finished):
                found[event.cell.id] = event.record.result()
    return Ran(begun, time.monotonic() - start, found)


def suite(name: str, kind: str) -> Ran:
    """Run a suite's cells, and clear up."""
    cells = Suite.read(name).cells(["tracking=none"])
    start = time.monotonic()
    with {"local": LocalExecutor, "ray": RayExecutor}[kind](WORKERS) as executor:
        found = ran(executor, cells)
    assert len(found.found) == len(cells)
    return replace(found, ended=time.monotonic() - start)


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.executors", sys.argv[1:] if given is None else given)
    name, turns, count = ("smoke", 1, 10) if asked.toy else ("default", 3, MANY)
    times: dict[str, list[float]] = {"local": [], "ray": []}
    begun: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(turns):
        results = []
        for kind in times:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                found = fresh.submit(suite, name, kind).result()
            results.append(found.found)
            begun[kind].append(found.begun)
            times[kind].append(found.ended)
            first = f"the first cell after {found.begun:.1f} s"
            say(f"{turn + 1} of {turns}: {kind} {found.ended:.1f} s, {first}")
        assert results[0] == results[1]
        cells = len(results[0])
    with RayExecutor(WORKERS) as ray:
        ran(ray, many(WORKERS))
        empties = ran(ray, many(count))
    assert len(empties.found) == count
    pairs = zip(times["local"], times["ray"], strict=True)
    ratio = statistics.median(there / here for here, there in pairs)
    rows: list[tuple[Value, ...]] = [
        (f"{cells} cells of {name}, ray / local, median of {turns}", ratio, LIMIT),
        *(
            (f"until the first cell begins, {kind}, s", statistics.median(found), None)
            for kind, found in begun.items()
        ),
        (f"{count} cells of nothing, s", empties.ended, LIMIT_SECONDS),
    ]
    table = Table(f"on {WORKERS} workers", ("what", "measured", "limit"), rows)
    data = {"seconds": times, "begun": begun, "ratio": ratio, "empty_seconds": empties.ended}
    Result("executors", about, data | {"cells": count}, [table], []).publish(asked.out)
    return asked.out / "executors.json"


if __name__ == "__main__":
    main()
