"""What a round costs beside local training: Lightning, tracking, checkpoints, evaluation.

    python -m bench.overhead

Real cells run through ``benchmark.run.runner.run`` with an MLflow store of their own and a clock
around every part; what no clock saw is Lightning's. The store is warm: importing MLflow and making
its tables takes seconds, once for a suite.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.measure import facts, say
from bench.report import Result, Table, Value, arguments
from benchmark.config.types import target_class
from benchmark.federation.adversary import Adversary
from benchmark.federation.rounds import Federation
from benchmark.run.cell import Cell
from benchmark.run.recorder import Checkpoint, Recorder
from benchmark.run.runner import run
from benchmark.tracking import CellFacts, NoTracker, Tracker
from benchmark.tracking.tracker import ENVIRONMENT

TRAINING, PLAN, SERVER, EVALUATION = "local training", "plan", "server", "evaluation"
CHECKPOINT, RECORDER, TRACKING, LIGHTNING = "checkpoint", "recorder", "tracking", "Lightning"
PARTS = (TRAINING, PLAN, SERVER, EVALUATION, CHECKPOINT, RECORDER, TRACKING, LIGHTNING)
COUNTED = (CHECKPOINT, TRACKING, LIGHTNING)
LIMITS = {"paper": 5.0, "small": 15.0}

# Clients of 100 images, 25 local steps; evaluation as often as checkpoints of the small one.
PAPER = ["model=paper", "federation=paper", "partition=iid", "partition.users=40"]
PAPER += ["federation.rounds=6", "federation.evaluate_every=3"]
CELLS = {"paper": PAPER, "small": ["model=small", "federation=small"]}
REPEATS = {"paper": 1, "small": 3}
TOY = ["federation.rounds=4", "federation.clients_per_round=2", "federation.local_epochs=1"]
TOY += ["federation.checkpoint_every=1", "federation.evaluate_every=2"]


@dataclass
class _Running:
    """A clocked function that has not returned; ``inner`` is the time of clocked ones inside."""

    part: str
    start: float
    inner: float = 0.0


class Clock:
    """Adds up the time spent inside functions, that of clocked functions inside them left out.

    Args:
        now: what the time is, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self.now = now
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._running: list[_Running] = []

    def read(self) -> dict[str, float]:
        """Seconds by part up to this moment, functions that still run included.

        All parts together are thereby never more than the time between two readings. For the
        thread whose functions are clocked; from another one, ``spent`` is what has returned.
        """
        spent, later = self.spent.copy(), self.now()
        for running in reversed(self._running):
            spent[running.part] += later - running.start - running.inner
            later = running.start
        return spent

    @contextmanager
    def around(self, part: str, owner: Any, *names: str) -> Iterator[None]:
        """Count the functions ``names`` of a class to ``part`` while the block runs."""
        with ExitStack() as stack:
            for name in names:
                function = self.clocked(part, getattr(owner, name))
                stack.enter_context(patch.object(owner, name, function))
            yield

    def clocked(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted to ``part``."""

        @wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            self._running.append(_Running(part, self.now()))
            try:
                return function(*given, **named)
            finally:
                done = self._running.pop()
                took = self.now() - done.start
                self.spent[part] += took - done.inner
                if self._running:
                    self._running[-1].inner += took

        return counted


@dataclass(frozen=True)
class Round:
    """What the rounds of a cell took on average, the first left out.

    Attributes:
        seconds: from the end of one to the end of the next.
        parts: of that, by part; ``tracking`` is the run's own time and all of the CPU time of the
            thread beside it, as if no core were free for it.
        finish_seconds: CPU time to complete the cell's MLflow run at the end.
        cell_seconds: all rounds but the first.
    """

    seconds: float
    parts: dict[str, float]
    finish_seconds: float
    cell_seconds: float


def observe(overrides: Sequence[str], store: Path | None, folder: Path) -> Round:
    """Run a cell with a clock around its parts.

    Args:
        overrides: of the cell.
        store: SQLite file to track it in; None tracks nothing.
        folder: for its results.
    """
    cell = Cell.of([*overrides, "tracking=none"])
    tracker = Tracker(uri=f"sqlite:///{store}", flush_seconds=1.0) if store else NoTracker()
    clock, beside = Clock(), Clock(time.thread_time)
    moments: list[tuple[float, dict[str, float], float]] = []
    tell = clock.clocked(TRACKING, tracker.round)

    def on_round(round: int, metrics: dict[str, float]) -> None:
        tell(cell.id, round, metrics)
        moments.append((time.perf_counter(), clock.read(), beside.spent[TRACKING]))

    engine = target_class("engine", cell.config["engine"])
    defense = target_class("defense", cell.config["defense"])
    with (
        clock.around(PLAN, Federation, "sample_cohort", "plan"),
        clock.around(SERVER, Federation, "server_step"),
        clock.around(SERVER, Adversary, "prepare", "craft"),
        clock.around(SERVER, defense, "aggregate"),
        clock.around(EVALUATION, Federation, "evaluate"),
        clock.around(TRAINING, engine, "train"),
        clock.around(CHECKPOINT, Checkpoint, "on_train_epoch_end"),
        clock.around(RECORDER, Recorder, "on_train_batch_start", "on_train_batch_end"),
        _thread_time(beside),
    ):
        data = {"hash": cell.data_hash}
        tracker.start(CellFacts(cell.id, cell.config, data, cell.code, cell.seed, cell.overrides))
        run(cell, folder, on_round)
        tracker.finish(cell.record_path(folder), cell.data)
        if notes := tracker.close():
            raise RuntimeError("; ".join(notes))
    (start, before, thread_before), *_, (end, after, thread_after) = moments
    count = len(moments) - 1
    parts = {part: (after[part] - before[part]) / count for part in PARTS}
    parts[LIGHTNING] = (end - start) / count - sum(parts.values())
    parts[TRACKING] += (thread_after - thread_before) / count
    return Round((end - start) / count, parts, beside.spent["finish"], end - start)


@contextmanager
def _thread_time(clock: Clock) -> Iterator[None]:
    """Clock the tracker's calls to the store, which a thread makes, by CPU time."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from benchmark.tracking.runs import Runs

    with (
        clock.around(TRACKING, Runs, "round", "flush"),
        clock.around("finish", Runs, "finish"),
    ):
        yield


def shares(rounds: Sequence[Round]) -> dict[str, float]:
    """Percent of a round, by part: the median over runs."""
    return {
        part: statistics.median(100 * each.parts[part] / each.seconds for each in rounds)
        for part in PARTS
    }


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    asked = parser.parse_args(given)
    about = facts("bench.overhead", sys.argv[1:] if given is None else given)
    cells = {"small": [*CELLS["small"], *TOY]} if asked.toy else CELLS
    rows: list[list[Value]] = []
    data = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "mlflow.db"
        if not asked.toy:
            say("a first run makes the store")
            observe([*CELLS["small"], *TOY, "seed=1"], store, folder / "warm")
        for name, overrides in cells.items():
            tracked, untracked = [], []
            for repeat in range(1 if asked.toy else REPEATS[name]):
                say(f"{name}: run {repeat}")
                where = folder / f"{name}-{repeat}"
                tracked.append(observe(overrides, store, where / "tracked"))
                if name == "small":
                    untracked.append(observe(overrides, None, where / "untracked"))
            share = shares(tracked)
            seconds = statistics.median(each.seconds for each in tracked)
            counted = sum(share[part] for part in COUNTED)
            rows += [[name, part, 10 * seconds * share[part], share[part]] for part in PARTS]
            rows.append([name, "round", 1000 * seconds, 100.0])
            limit = f"Lightning, tracking, checkpoints (limit {LIMITS[name]:.0f} %)"
            rows.append([name, limit, 10 * seconds * counted, counted])
            data[name] = {
                "overrides": overrides,
                "tracked": [asdict(each) for each in tracked],
                "untracked": [asdict(each) for each in untracked],
                "shares": share,
                "counted": counted,
                "limit": LIMITS[name],
            }
    table = Table("what a round is spent on", ("model", "part", "ms", "% of round"), rows)
    result = Result("overhead", about, data, [table], _notes(data))
    result.publish(asked.out)
    return asked.out / "overhead.json"


def _notes(data: dict[str, Any]) -> list[str]:
    def median(name: str, kind: str, what: str) -> float:
        return statistics.median(each[what] for each in data[name][kind])

    finish = median("small", "tracked", "finish_seconds")
    once = 100 * finish / median("small", "tracked", "cell_seconds")
    return [
        "`paper`: 30 clients of 100 images, a checkpoint every round, evaluation on 1,000 images "
        "every 3 rounds. `small`: the default suite's federation. Tracking counts all CPU time "
        "of the thread that talks to MLflow; completing a cell's run at its end takes it "
        f"another {finish:.2g} s of CPU time, once: {once:.2g} % of the rounds of `small`.",
        f"A round of `small` took {1000 * median('small', 'tracked', 'seconds'):.3g} ms tracked "
        f"and {1000 * median('small', 'untracked', 'seconds'):.3g} ms untracked.",
    ]


if __name__ == "__main__":
    main()
