"""What it costs to run cells on Ray instead of in processes of this machine.

    python -m bench.executors

The default suite's 54 cells, on two workers, under `local` and under `ray` in turn, from start to
end; records and models must be the same. Then 1,000 cells that train as little as can be, on
a cluster that is there already.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    found: dict[str, object]


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


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.executors", sys.argv[1:] if given is None else given)
    name, turns, count = ("smoke", 1, 10) if asked.toy else ("default", 3, MANY)
    cells = Suite.read(name).cells(["tracking=none"])
    times: dict[str, list[float]] = {"local": [], "ray": []}
    begun: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(turns):
        results = []
        for kind, executor in (("local", LocalExecutor(WORKERS)), ("ray", RayExecutor(WORKERS))):
            start = time.monotonic()
            with executor:
                found = ran(executor, cells)
            results.append(found.found)
            begun[kind].append(found.begun)
            times[kind].append(time.monotonic() - start)
            first = f"the first cell after {found.begun:.1f} s"
            say(f"{turn + 1} of {turns}: {kind} {times[kind][-1]:.1f} s, {first}")
        assert results[0] == results[1]
        assert len(results[0]) == len(cells)
    with RayExecutor(WORKERS) as ray:
        ran(ray, many(WORKERS))
        empties = ran(ray, many(count))
    assert len(empties.found) == count
    pairs = zip(times["local"], times["ray"], strict=True)
    ratio = statistics.median(there / here for here, there in pairs)
    rows: list[tuple[Value, ...]] = [
        (f"{len(cells)} cells of {name}, ray / local, median of {turns}", ratio, LIMIT),
        *(
            (f"until the first cell begins, {kind}, s", statistics.median(found), None)
            for kind, found in begun.items()
        ),
        (f"{count} cells of nothing, s", empties.ended, LIMIT_SECONDS),
    ]
    table = Table("", ("what", "measured", "limit"), rows)
    data = {"seconds": times, "begun": begun, "ratio": ratio, "empty_seconds": empties.ended}
    Result("executors", about, data | {"cells": count}, [table], []).publish(asked.out)
    return asked.out / "executors.json"


if __name__ == "__main__":
    main()
