"""How much memory a round takes, all at once or in parts, and whether rounds leave any behind.

    python -m bench.memory

Every figure comes from a real run in a process of its own; memory is the resident set.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import facts, say
from bench.report import Result, Table, Value, arguments
from benchmark.run.cell import Cell
from benchmark.run.runner import run
from benchmark.utils.machine import peak_memory_mb

PAPER_PARAMETERS = 1_199_882
COHORTS = (30, 300)
DEFENSES = ("mean", "norm_clip", "weak_dp")
PART = 30
IN_PARTS = (3000, 300, 30)
EVERY = 50
STATUS = Path("/proc/self/status")
# One local step: memory does not depend on how many follow.
STEP = ["partition=iid", "partition.users=300", "federation.rounds=2", "federation.local_epochs=1"]
# 10 steps a client; the first round is no measure, since what is allocated in it stays.
WHOLE = ["partition=iid", "federation.replacement=true", "federation.rounds=2", "engine=cpu"]
TOY = ["federation.rounds=4", "federation.local_epochs=1", "federation.clients_per_round=2"]


def resident_mb() -> float:
    """MiB of this process that lie in memory now."""
    lines = STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 2**10


def child(overrides: Sequence[str], every: int) -> dict[str, Any]:
    """Run a cell in this process and note its memory.

    Returns:
        Megabytes: ``before`` the run, with everything imported; ``peak`` of it; ``resident``
        after every so many rounds. And ``seconds`` of every round.
    """
    cell = Cell.of([*overrides, "tracking=none"])
    before, resident = resident_mb(), []

    def on_round(round: int, metrics: dict[str, float]) -> None:
        if (round + 1) % every == 0:
            resident.append(resident_mb())

    with tempfile.TemporaryDirectory() as folder:
        record = run(cell, Path(folder), on_round)
    peak = max([peak_memory_mb("cpu"), *record.cost.round_peak_memory_mb])
    seconds = record.cost.round_seconds
    return {"before": before, "peak": peak, "resident": resident, "seconds": seconds}


def fresh(overrides: Sequence[str], every: int = EVERY) -> dict[str, Any]:
    """:func:`child` in a process of its own."""
    say(" ".join(overrides))
    command = [sys.executable, "-m", "bench.memory", "--child", str(every), *overrides]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main(given: Sequence[str] | None = None) -> Path | None:
    """Measure, print, store."""
    given = sys.argv[1:] if given is None else given
    if given and given[0] == "--child":
        print(json.dumps(child(given[2:], int(given[1]))))
        return None
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.memory", given)
    peaks: dict[str, Any] = {}
    if not asked.toy:
        for K in COHORTS:
            for defense in DEFENSES:
                cohort = f"federation.clients_per_round={K}"
                peaks[f"{K} {defense}"] = fresh(
                    ["model=paper", "federation=small", *STEP, cohort, f"defense={defense}"]
                )
    parts: dict[int, Any] = {}
    for K in () if asked.toy else IN_PARTS:
        cohort = [f"federation.clients_per_round={K}", f"federation.part_size={PART}"]
        own = ["model=paper", "federation=small", *WHOLE, *cohort, "defense=norm_clip"]
        parts[K] = fresh(own)
    rounds, every = (4, 1) if asked.toy else (500, EVERY)
    small = ["model=small", "federation=small"]
    grown = fresh([*small, *(TOY if asked.toy else [f"federation.rounds={rounds}"])], every)
    resident = grown["resident"]
    rows: list[list[Value]] = []
    for name, found in peaks.items():
        count, _, defense = name.partition(" ")
        matrix = int(count) * PAPER_PARAMETERS * 4 / 2**20
        taken = found["peak"] - found["before"]
        rows.append(
            [int(count), defense, found["before"], found["peak"], taken, matrix, taken / matrix]
        )
    columns = ("K", "defense", "before MiB", "peak MiB", "run MiB", "(K, P) MiB", "run / (K, P)")
    growth = [[(i + 1) * every, value, value - resident[0]] for i, value in enumerate(resident)]
    usual = parts[PART]["seconds"][-1] / PART if parts else 0
    cohorts: list[list[Value]] = [
        [K, found["peak"], K * PAPER_PARAMETERS * 4 / 2**20, 1000 * each, each / usual]
        for K, found in parts.items()
        for each in [found["seconds"][-1] / K]
    ]
    columns_of_parts = ("K", "peak MiB", "(K, P) MiB", "ms a client", f"times K = {PART}")
    title = f"parts of {PART} clients, model paper, norm_clip"
    tables = [
        *([Table("peak resident set, model paper", columns, rows)] if rows else []),
        *([Table(title, columns_of_parts, cohorts)] if cohorts else []),
        Table(
            f"resident set over {rounds} rounds, model small, 10 clients",
            ("rounds", "MiB", "MiB since the first row"),
            growth,
        ),
    ]
    result = Result(
        "memory", about, {"peaks": peaks, "parts": parts, "growth": grown, "every": every}, tables
    )
    result.publish(asked.out)
    return asked.out / "memory.json"


if __name__ == "__main__":
    main()
