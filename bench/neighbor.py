"""How much another busy process on the machine slows a round down.

    python -m bench.neighbor

Each round of measurement runs every variant alone, beside a torch loop on one core, and beside one
on all cores. On C cores that share fairly, a neighbor on one of them leaves (C - 1/2) / C of the
machine, one on all of them half.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.measure import Spread, facts, say, seconds
from bench.report import Result, Table, Value, arguments
from bench.variants import NAIVE, variants
from bench.workload import Workload

LIMIT = 2.0
MEASURED = (NAIVE, "engine cpu, autograd", "engine cpu", "engine auto")
ALONE = "alone"
BUSY = """
import ctypes, sys, torch
# On Linux it dies with its parent, though that is killed and this is stopped: PR_SET_PDEATHSIG.
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, 9)
torch.set_num_threads(int(sys.argv[1]))
a = torch.rand(512, 512)
print(flush=True)
while True:
    a @ a
"""


class Neighbor:
    """A process that multiplies matrices on so many threads, while it is let."""

    def __init__(self, threads: int):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", BUSY, str(threads)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let it run."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> "Neighbor":
        return self

    def hold(self) -> None:
        """Wait until it is at work, then stop it."""
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    asked = parser.parse_args(given)
    about = facts("bench.neighbor", sys.argv[1:] if given is None else given)
    cores = len(os.sched_getaffinity(0))
    if asked.toy:
        work, repeats = Workload.of("small", clients=2, images=20, epochs=1), 1
    else:
        work, repeats = Workload.of("paper", clients=10), 3
    found = variants(work, lambda name: repeats * (name in MEASURED))
    taken: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        neighbors = {
            "beside 1 thread": stack.enter_context(Neighbor(1)),
            f"beside {cores} threads": stack.enter_context(Neighbor(cores)),
        }
        for neighbor in neighbors.values():
            neighbor.hold()
        for variant in found:
            variant.warm()
            taken[variant.name] = {state: [] for state in (ALONE, *neighbors)}
        for _ in range(repeats):
            for state in (ALONE, *neighbors):
                for variant in found:
                    with ExitStack() as busy:
                        if state != ALONE:
                            busy.enter_context(neighbors[state].busy())
                        took = seconds(variant.work)
                    taken[variant.name][state].append(took)
                    say(f"  {variant.name}, {state}: {took:.3g} s")
    rows: list[list[Value]] = []
    for name, states in taken.items():
        alone = Spread.of(states[ALONE]).median
        for state, values in states.items():
            spread = Spread.of(values)
            slower = spread.median / alone
            rows.append([name, state, spread.median, spread.low, spread.high, slower])
    columns = ("variant", "neighbor", "median s", "Q1", "Q3", "x as long")
    title = f"a round of {work.clients} clients of 25 steps, model paper, {cores} cores"
    result = Result(
        "neighbor",
        about,
        {"seconds": taken, "cores": cores, "limit": LIMIT},
        [Table("toy" if asked.toy else title, columns, rows)],
        [f"The engine `cpu` may take at most {LIMIT:.0f} times as long."],
    )
    result.publish(asked.out)
    return asked.out / "neighbor.json"


if __name__ == "__main__":
    main()
