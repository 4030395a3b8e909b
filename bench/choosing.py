"""How long the engine ``auto`` takes to choose, where nothing is remembered yet.

    python -m bench.choosing

Once for a model, a shape of cohort and a machine; later runs take the answer from the cache.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

from bench.measure import Spread, facts, say, seconds
from bench.report import Result, Table, Value, arguments
from bench.variants import ENGINES, Ready, ready
from bench.workload import Workload
from benchmark.engine.auto import AutoEngine
from benchmark.utils.machine import one_thread

LIMIT = 2.0
WORKLOADS = (("small", 10), ("small", 30), ("paper", 10), ("paper", 30))


def choose(auto: Ready) -> tuple[float, str]:
    """Seconds of one choice, and what was chosen."""
    engine = auto.engine
    assert isinstance(engine, AutoEngine)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"FEDBACKDOOR_CACHE": folder}),
        one_thread(),
    ):
        engine.setup(auto.work.client, auto.work.resident)
        took = seconds(partial(engine.choose, auto.work.theta, auto.work.plan))
    return took, engine.name


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    asked = parser.parse_args(given)
    about = facts("bench.choosing", sys.argv[1:] if given is None else given)
    workloads = [("small", 2)] if asked.toy else list(WORKLOADS)
    engines: dict[tuple[str, int], Ready] = {}
    for model, clients in workloads:
        work = Workload.of(model, clients, images=20 if asked.toy else 100)
        made = ready(ENGINES["engine auto"], work)
        assert made is not None
        # Compiles what there is to compile, once for a machine and not what is timed here.
        made(work.brief)
        engines[model, clients] = made
    taken: dict[tuple[str, int], list[tuple[float, str]]] = {key: [] for key in workloads}
    for _ in range(1 if asked.toy else 5):
        for key, made in engines.items():
            taken[key].append(choose(made))
            say(f"  {key[0]}, {key[1]} clients: {taken[key][-1][0]:.3g} s")
    rows: list[list[Value]] = []
    for (model, clients), found in taken.items():
        spread = Spread.of([took for took, _ in found])
        chosen = ", ".join(sorted({name for _, name in found}))
        rows.append([model, clients, spread.median, spread.low, spread.high, chosen])
    columns = ("model", "clients", "median s", "Q1", "Q3", "chose")
    title = "toy" if asked.toy else f"`auto` chooses, in less than {LIMIT:.0f} s"
    data = {f"{model}/{clients}": found for (model, clients), found in taken.items()}
    Result("choosing", about, data, [Table(title, columns, rows)]).publish(asked.out)
    return asked.out / "choosing.json"


if __name__ == "__main__":
    main()
