"""What a round costs as the cohort, the model and the number of users grow.

python -m bench.scaling
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.measure import Spread, Variant, facts, interleave, say, training_flops
from bench.report import Result, Table, Value, arguments
from bench.variants import ENGINES, NAIVE, ready
from bench.workload import SEED, Workload, naive, paper_shaped
from benchmark.config.compose import compose
from benchmark.models.cnn import keras_init_
from benchmark.run.assembly import build
from benchmark.utils.machine import one_thread

COHORTS = (1, 3, 10, 30, 100, 300)
NAIVE_UP_TO = 100
WIDTHS = (0.5, 1.0, 2.0, 4.0)
USERS = (100, 1000, 3383)
SCALED = ("engine cpu", "engine cuda")


@dataclass(frozen=True)
class Point:
    """One variant at one size; ``size`` is K, P or N."""

    variant: str
    size: int
    seconds: list[float]
    flops: int = 0


class WidthCNN(nn.Module):
    """The benchmark's small network with ``width`` times the filters and hidden units."""

    def __init__(self, width: float):
        super().__init__()
        a, b, c = (int(width * n) for n in (16, 32, 64))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.layers = nn.Sequential(
                nn.Conv2d(1, a, 5, stride=2),
                nn.ReLU(),
                nn.Conv2d(a, b, 3, stride=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(b * 5 * 5, c),
                nn.ReLU(),
                nn.Linear(c, 10),
            )
            keras_init_(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of images."""
        return self.layers(images)


def local_training(work: Workload, size: int, repeats: int, with_naive: bool) -> list[Point]:
    """The naive loop and the fast engines on one workload, at their whole cohort."""
    say(f"{work.clients} clients, {len(work.theta):,} parameters")
    users = range(work.clients)
    chosen = []
    if with_naive:
        loop = partial(naive, work)
        chosen.append(Variant(NAIVE, partial(loop, users), repeats, partial(loop, users[:1])))
    for name in SCALED:
        if made := ready(ENGINES[name], work):
            chosen.append(Variant(name, made, repeats, partial(made, work.brief)))
    steps = sum(lane.num_steps for lane in work.plan.lanes)
    flops = steps * training_flops(work.model, work.batch)
    taken = interleave(chosen, work.device)
    return [Point(name, size, values, flops) for name, values in taken.items()]


def whole_rounds(users: int, images: int, rounds: int) -> list[Point]:
    """What a federation of N users does in a round beside local training."""
    say(f"{users:,} users")
    dataset = paper_shaped(users, images)
    asked = ["task.num_tasks=1", "tracking=none", "engine=reference"]
    federation = build(compose(asked), dataset)
    federation.on_fit_start()

    def plan() -> None:
        for round in range(rounds):
            federation.plan(round, federation.sample_cohort(round))

    with one_thread():
        taken = interleave([Variant("sampling and plan", plan, 3)])
    return [Point(name, users, [v / rounds for v in values]) for name, values in taken.items()]


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    asked = parser.parse_args(given)
    toy = asked.toy
    about = facts("bench.scaling", sys.argv[1:] if given is None else given)
    images, epochs, repeats = (8, 1, 1) if toy else (100, 5, 3)
    cohort, parameters, population = [], [], []
    for K in (1, 2) if toy else COHORTS:
        work = Workload.of("small", K, images, epochs)
        cohort += local_training(work, K, repeats, K <= NAIVE_UP_TO)
    for width in (0.5, 1.0) if toy else WIDTHS:
        work = Workload.of(WidthCNN(width), 2 if toy else 10, images, epochs)
        parameters += local_training(work, len(work.theta), repeats, True)
    for N in (40, 80) if toy else USERS:
        population += whole_rounds(N, images, rounds=2 if toy else 20)
    tables = [
        _table("cohort: small model, K clients a round", "K", cohort, per_client=True),
        _table("parameters: the small network made wider, K = 10", "P", parameters),
        _table("users: what N costs in a round, K = 10", "N", population),
    ]
    points = {"cohort": cohort, "parameters": parameters, "users": population}
    data = {name: [asdict(point) for point in found] for name, found in points.items()}
    result = Result("scaling", about, data, tables)
    result.publish(asked.out)
    return asked.out / "scaling.json"


def _table(title: str, size: str, points: Sequence[Point], per_client: bool = False) -> Table:
    columns = [size, "variant", "median s", "Q1", "Q3"]
    columns += ["ms a client"] * per_client + ["GFLOP/s"] * bool(points[0].flops)
    rows = []
    for point in points:
        spread = Spread.of(point.seconds)
        row: list[Value] = [point.size, point.variant, spread.median, spread.low, spread.high]
        row += [1000 * spread.median / point.size] * per_client
        row += [point.flops / spread.median / 1e9] * bool(point.flops)
        rows.append(row)
    return Table(title, columns, rows)


if __name__ == "__main__":
    main()
