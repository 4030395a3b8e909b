"""One round's local training: engine beside engine, the naive loop and a Trainer for each client.

    python -m bench.engines --model paper --clients 30

Interleaved, with quartiles. Clients have 100 images each and train 5 epochs in batches of 20, as in
the paper. Times mean nothing between machines, and little on a busy one; the ratios of one run do.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.measure import Peak, Spread, facts, interleave, say, training_flops
from bench.report import Result, Table, arguments
from bench.variants import NAIVE, Ready, variants
from bench.workload import Workload

FAST = (NAIVE, "engine cpu", "engine auto")
SLOW = ("engine reference", "engine cuda")
REPEATS = {
    "small": {10: 5, 30: 5, 100: 3},
    "paper": {10: 5, 30: 5, 100: 2},
    "resnet8": {10: 3},
}
DEAR_REPEATS = 2
NOTES = (
    "Times are of local training alone, in seconds. Speed is the naive loop's median over the "
    "variant's. GEMM peak: the best float32 matrix product on all cores at any moment of the run; "
    "the fraction of it, of the median round and of the best one, counts dense floating-point "
    "operations, which code that skips the zeros of ReLU and max-pooling need not do. On a machine "
    "that others use too, best beside best compares like with like.",
)


@dataclass(frozen=True)
class Row:
    """One variant on one workload.

    Attributes:
        model, clients, variant: what was timed.
        how: the engine's own word for how it computes.
        seconds: of every repetition.
        flops: dense operations of the round.
        speed: times the naive loop's.
        peak_fraction, best_fraction: of the machine's GEMM peak, by the median and by the least
            of the seconds.
    """

    model: str
    clients: int
    variant: str
    how: str
    seconds: list[float]
    flops: int
    speed: float = 1.0
    peak_fraction: float = 0.0
    best_fraction: float = 0.0


def repeats(model: str, clients: int) -> Callable[[str], int]:
    """How often to time a variant: dear ones less, so that all of it stays within minutes."""
    often = REPEATS[model][clients]
    if model != "paper":
        return lambda name: often

    def paper(name: str) -> int:
        if name in FAST:
            return often
        return DEAR_REPEATS * (clients == 10 or (clients == 30 and name not in SLOW))

    return paper


def measure(work: Workload, peak: Peak, model: str, repeats: Callable[[str], int]) -> list[Row]:
    """Time every variant on one workload.

    Args:
        work: what is to be done.
        peak: asked again before every round of variants.
        model: name for the table.
        repeats: of a variant.
    """
    say(f"{model}, {work.clients} clients")
    found = variants(work, repeats)
    taken = interleave(found, work.device, peak.measure)
    steps = sum(lane.num_steps for lane in work.plan.lanes)
    flops = steps * training_flops(work.model, work.batch, work.data.input_shape)
    how = {v.name: v.work.engine.kind for v in found if isinstance(v.work, Ready)}
    base = Spread.of(taken[NAIVE]).median
    return [
        Row(
            model,
            work.clients,
            name,
            how.get(name, ""),
            values,
            flops,
            speed=base / Spread.of(values).median,
        )
        for name, values in taken.items()
    ]


def rated(row: Row, peak: Peak) -> Row:
    """With the fractions of the best product of the whole run."""
    possible = row.flops / peak.gflops / 1e9
    return replace(
        row,
        peak_fraction=possible / Spread.of(row.seconds).median,
        best_fraction=possible / min(row.seconds),
    )


def table(rows: Sequence[Row], model: str, clients: int) -> Table:
    """The rows of one workload."""
    chosen = [row for row in rows if (row.model, row.clients) == (model, clients)]
    columns = (
        "variant",
        "median s",
        "Q1",
        "Q3",
        "runs",
        "x naive",
        "% of peak",
        "best",
        "how",
    )
    cells = []
    for row in chosen:
        spread = Spread.of(row.seconds)
        cells.append(
            (
                *(row.variant, spread.median, spread.low, spread.high, spread.count),
                *(row.speed, 100 * row.peak_fraction, 100 * row.best_fraction, row.how),
            )
        )
    work = f"{chosen[0].flops / 1e12:.3g} TFLOP"
    return Table(f"model {model}, {clients} clients a round, {work}", columns, cells)


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    parser.add_argument("--model", nargs="+", default=list(REPEATS), choices=REPEATS)
    parser.add_argument(
        "--clients", nargs="+", type=int, default=[10, 30, 100], choices=REPEATS["small"]
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    asked = parser.parse_args(given)
    said = sys.argv[1:] if given is None else given
    about = facts("bench.engines", said, asked.device)
    rows: list[Row] = []
    if asked.toy:
        peak = Peak(asked.device, sizes=(128,))
        work = Workload.of("small", clients=2, images=8, epochs=1, batch=4, device=asked.device)
        rows += measure(work, peak, "small", lambda name: 2)
    else:
        peak = Peak(asked.device)
        for model in asked.model:
            for clients in sorted(REPEATS[model].keys() & asked.clients):
                work = Workload.of(model, clients, device=asked.device)
                rows += measure(work, peak, model, repeats(model, clients))
    peak.measure()
    rows = [rated(row, peak) for row in rows]
    workloads = dict.fromkeys((row.model, row.clients) for row in rows)
    result = Result(
        "engines",
        about,
        {"gemm_gflops": peak.moments, "rows": [asdict(row) for row in rows]},
        [table(rows, *workload) for workload in workloads],
        (
            *NOTES,
            f"GEMM peak of this run: {peak.gflops:.0f} GFLOP/s, "
            f"best of {len(peak.moments)} moments, the worst {min(peak.moments):.0f}.",
        ),
    )
    result.publish(asked.out)
    return asked.out / "engines.json"


if __name__ == "__main__":
    main()
