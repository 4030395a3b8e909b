"""What a suite costs: core-seconds and bytes of a federation, and of the zoo on many machines.

    python -m bench.cost

A federation is taken to cost a + b · T core-seconds for T rounds. Two lengths of each setting give
a and b, on one thread and without an attack; the default suite's own cells say how far that is
from the truth.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.measure import facts, say, training_flops
from bench.report import Result, Table, Value, arguments
from benchmark.config.compose import compose, plants_any
from benchmark.config.instantiate import make
from benchmark.config.plugins import available
from benchmark.run.cell import Cell
from benchmark.run.runner import run
from benchmark.run.suite import Suite
from benchmark.utils.machine import one_thread

PAPER = ["data=digits5k", "partition=iid", "partition.users=40", "model=paper", "federation=paper"]
SETTINGS = {
    "digits5k": (["setting=digits5k"], 40, (2, 12)),
    "rounds of the paper's size": (PAPER, 300, (1, 3)),
}
"""Overrides, rounds of a federation, and the two lengths that are measured."""
SEEDS = 3
TUNED = 100 * 2 + 3 * 3
"""Federations of a tuned attacker: 100 trials on two seeds, the three best on three fresh ones."""
NODES, CORES = 100, 16
GPU_FLOPS = 1e13
"""Operations a second that are assumed of a GPU, as none was measured: a seventh of an H100's."""


@dataclass(frozen=True)
class Cost:
    """Of a setting's federations.

    Attributes:
        start, round: core-seconds, a and b.
        data, checkpoint, weights, record: bytes.
    """

    start: float
    round: float
    data: int
    checkpoint: int
    weights: int
    record: int

    def core_seconds(self, rounds: int) -> float:
        """a + b · T."""
        return self.start + self.round * rounds


def cell(overrides: Sequence[str], rounds: int) -> Cell:
    """Unattacked and undefended, with a checkpoint at its end."""
    short = [f"federation.rounds={rounds}", f"federation.checkpoint_every={rounds}"]
    plain = ["attack=none", "defense=mean", "engine=cpu", "engine.workers=1", "tracking=none"]
    return Cell.of([*overrides, *short, *plain])


def core_seconds(wanted: Cell, folder: Path) -> float:
    """Of a cell in this process."""
    started = time.process_time()
    with one_thread():
        run(wanted, folder)
    return time.process_time() - started


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(overrides: Sequence[str], lengths: tuple[int, int], folder: Path) -> Cost:
    """Two lengths, after a first one that loads and compiles what stays."""
    kept: list[int] = []
    short, long = (cell(overrides, rounds) for rounds in lengths)
    run(cell([*overrides, "seed=1"], 1), folder / "warm")
    taken = [core_seconds(each, folder / "runs") for each in (short, long)]

    def checkpoint(round: int, metrics: dict[str, float]) -> None:
        kept.append(size(folder / "again" / "work"))

    every = [*long.overrides, "federation.checkpoint_every=1"]
    run(Cell.of(every), folder / "again", checkpoint)
    round_ = (taken[1] - taken[0]) / (lengths[1] - lengths[0])
    return Cost(
        max(0.0, taken[0] - round_ * lengths[0]),
        round_,
        size(long.data),
        max(kept),
        long.weights_path(folder / "runs").stat().st_size,
        long.record_path(folder / "runs").stat().st_size,
    )


def checked(cost: Cost, toy: bool, folder: Path) -> list[Value]:
    """The default suite's first seed: what the model says, what it took, and the ratio."""
    short = ["federation.rounds=2", "federation.clients_per_round=2"] if toy else []
    suite = Suite.read("default")
    own = [*suite.overrides, *short, "engine=cpu", "engine.workers=1", "tracking=none"]
    cells = Suite("check", suite.description, own, suite.axes, [0]).cells()[: 2 if toy else None]
    taken = sum(core_seconds(each, folder / "check") for each in cells)
    said = sum(cost.core_seconds(each.config["federation"]["rounds"]) for each in cells)
    return [f"default, seed 0: {len(cells)} cells", said, taken, taken / said]


def campaigns() -> dict[str, int]:
    """Numbers of federations."""
    defenses, attacks = available("defense"), [a for a in available("attack") if plants_any(a)]
    every = len(defenses) * len(attacks) * SEEDS
    return {
        "suite default": len(Suite.read("default").cells()),
        "suite defenses": len(Suite.read("defenses").cells()),
        f"zoo: {len(attacks)} attacks x {len(defenses)} defenses x {SEEDS} seeds": every,
        "the zoo, and an attacker tuned against each defense": every + TUNED * len(defenses),
    }


def cifar10_flops() -> float:
    """Operations of a federation of the setting cifar10: 10 clients of 500 images, augmented."""
    config = compose(["setting=cifar10"])
    protocol = config["federation"]
    model = make("model", config["model"], num_classes=10, image=(3, 32, 32))
    images = protocol["rounds"] * protocol["clients_per_round"] * protocol["local_epochs"] * 500
    batch = protocol["batch_size"]
    return training_flops(model, batch, (3, 32, 32)) / batch * images


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.cost", sys.argv[1:] if given is None else given)
    settings = dict(list(SETTINGS.items())[: 1 if asked.toy else None])
    costs, checks = {}, list[list[Value]]()
    for name, (overrides, _, lengths) in settings.items():
        say(name)
        with tempfile.TemporaryDirectory() as folder:
            costs[name] = measured(overrides, (1, 2) if asked.toy else lengths, Path(folder))
            if not checks:
                checks.append(checked(costs[name], asked.toy, Path(folder)))
    factor = float(checks[0][3] or 1)
    found: dict[str, Any] = {"costs": {k: asdict(v) for k, v in costs.items()}, "checks": checks}
    tables = [
        Table(
            "a federation, unattacked, in core-seconds and kB",
            ("setting", "start", "a round", "T", "in all", "data", "checkpoint", "model", "record"),
            [
                [name, cost.start, cost.round, SETTINGS[name][1]]
                + [cost.core_seconds(SETTINGS[name][1])]
                + [n / 1e3 for n in (cost.data, cost.checkpoint, cost.weights, cost.record)]
                for name, cost in costs.items()
            ],
        ),
        Table("the model and the truth", ("suite", "said s", "took s", "times"), checks),
        Table(
            f"hours: of one core, of 2, and of {NODES} nodes with {CORES} cores",
            ("campaign", "setting", "federations", "core-hours", "2 cores", f"{NODES} nodes"),
            [
                [campaign, name, number, hours, hours / 2, hours / NODES / CORES]
                for name, cost in costs.items()
                for campaign, number in campaigns().items()
                for hours in [factor * number * cost.core_seconds(SETTINGS[name][1]) / 3600]
            ],
        ),
    ]
    if not asked.toy:
        flops = found["cifar10_flops"] = cifar10_flops()
        rows = [
            [campaign, number, hours, hours / NODES]
            for campaign, number in campaigns().items()
            for hours in [number * flops / GPU_FLOPS / 3600]
        ]
        heads = ("campaign", "federations", "GPU-hours", f"hours of {NODES} GPUs")
        title = (
            f"setting cifar10: {flops / 1e15:.1f} PFLOP each, training alone, at an assumed "
            f"{GPU_FLOPS / 1e12:g} TFLOP/s"
        )
        tables.append(Table(title, heads, rows))
    Result("cost", about, found, tables).publish(asked.out)
    return asked.out / "cost.json"


if __name__ == "__main__":
    main()
