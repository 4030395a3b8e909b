"""What every defense takes to aggregate a round, beside byzfl's and Flower's where they have it.

    make bench/peers/.venv/installed          # byzfl and flwr, in an environment of their own
    python -m bench.aggregators               # about half an hour on two cores
    python -m bench.aggregators --cohorts 30 --rules krum median   # writes aggregators_30.json

Cohorts of 30, 100 and 1,000 clients with the paper's 1.2 million parameters; `30-wide` with 11
million. Random updates of length 1 from a fixed seed, f a fifth of the cohort. Each side is a
process that holds them; sides take turns, rule by rule, and the first round of each warms up.
Without the peers' environment their columns stay empty. Beyond 4 GB there is one process alone, and
one round.
"""

import json
import os
import select
import statistics
import subprocess
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.measure import facts, say
from bench.peers.our_rules import READ, num_parameters
from bench.report import Result, Table, Value, arguments
from benchmark.config.plugins import available

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = Path(__file__).parent / "peers" / ".venv" / "bin" / "python"
SIDES = {
    "ours": (sys.executable, "-m", "bench.peers.our_rules"),
    "byzfl": (str(PEERS_PYTHON), "-m", "bench.peers.rules", "byzfl"),
    "flwr": (str(PEERS_PYTHON), "-m", "bench.peers.rules", "flwr"),
}
COHORTS = {"30": (30, 128), "100": (100, 128), "30-wide": (30, 1190), "1000": (1000, 128)}
"""Clients, and the width of the dense layer: 1.2 or 11 million parameters."""
ALONE_MB = 4_000
"""A cohort beyond this is held once."""
PEERS_MAY_MB = 10_000
PATIENCE_S = 90
KINDS = ("seconds", "cpu_seconds", "extra_mb")
NOTES = (
    "Seconds: medians of rounds that took turns. CPU s: of all threads together, the least, which "
    "other programs change less. Reads: those over the CPU s of (read), which sums each row and is "
    "as fast as memory is read; a rule that looks at the updates twice takes two. Times ours: "
    "theirs over ours. byzfl computes in float32 and distances by a product of matrices, ours in "
    "float64 around one of the updates; its geometric median takes 3 steps from 0, ours goes on "
    "until it has converged. ARC and clipping write into the updates, and get a copy, which is "
    "timed. nnm, arc and bucketing are in front of the mean. Extra: MiB at the peak beside the "
    "updates.",
)
SAME = {"geometric_median": "geometric_median, converged"}
SAME |= {rule: f"{rule}, f + 1" for rule in ("krum", "multi_krum")}
"""byzfl's setting that computes what the paper, and ours, say."""
DIFFERENT = (
    "Distance of byzfl's update from ours over the length of ours, in float64, the largest over "
    "cohorts of 11, 15 and 30. Its krum and multi_krum count one neighbor more than the paper, so "
    "they are told f + 1. ARC's number of clipped updates, formed in floats, can be one off. "
    "Buckets are drawn at random, and are not compared.",
)


class Side:
    """A process that aggregates when it is told to.

    A context. It is ended when it does not answer in time, and begun anew.
    """

    def __init__(self, command: Sequence[str]):
        self.command, self.cohort = command, dict[str, Any]()
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def hold(self, clients: int, parameters: int, exact: bool, device: str, limit_mb: int) -> None:
        """Draw a cohort."""
        self.cohort = {"clients": clients, "parameters": parameters, "exact": exact}
        self.cohort |= {"device": device, "limit_mb": limit_mb}
        self._ask(self.cohort, 600)

    def aggregate(self, rule: str, patience: float = PATIENCE_S) -> dict[str, Any]:
        """Seconds and memory of a round, or an error."""
        if self.process is None:
            self._ask(self.cohort, 600)
        return self._ask({"rule": rule}, patience)

    def _ask(self, told: dict[str, Any], patience: float) -> dict[str, Any]:
        if self.process is None:
            # Threads as they come.
            inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=inherited | {"FLWR_TELEMETRY_ENABLED": "0"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(told), file=self.process.stdin, flush=True)
        if select.select([self.process.stdout], [], [], patience)[0]:
            line = self.process.stdout.readline()
            if line:
                answer: dict[str, Any] = json.loads(line)
                return answer
            answer = {"error": "ended"}
        else:
            answer = {"error": f"longer than {patience:.0f} s"}
        self.__exit__()
        return answer


def measure(
    sides: dict[str, Side], rules: Sequence[str], cohort: tuple[int, int], repeats: int, device: str
) -> dict[str, dict[str, Any]]:
    """Seconds, memory and errors of every rule on every side that has it."""
    clients, parameters = cohort
    megabytes = clients * parameters * 4 / 2**20
    if megabytes > ALONE_MB:
        sides, repeats = {"ours": sides["ours"]}, 0
    for name, side in sides.items():
        side.hold(clients, parameters, False, device, 0 if name == "ours" else PEERS_MAY_MB)
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        found[rule] = {}
        for repeat in range(repeats + 1):
            for name, side in sides.items():
                own = found[rule].setdefault(name, {kind: [] for kind in KINDS})
                if "error" in own or (repeat and own["warm_up"] > PATIENCE_S / 4):
                    continue
                answer = side.aggregate(rule, 1200 if name == "ours" else PATIENCE_S)
                if not repeat and "error" not in answer:
                    own["warm_up"] = answer.pop("seconds")
                for kind, value in answer.items():
                    own[kind] = [*own[kind], value] if kind in KINDS else value
        say(f"  {clients} x {parameters:,} {rule}: {_spoken(found[rule])}")
    return found


def _spoken(found: dict[str, Any]) -> str:
    times = {name: (_seconds(own), own) for name, own in found.items()}
    parts = [f"{k} {x['error'] if s is None else f'{s:.3g} s'}" for k, (s, x) in times.items()]
    return ", ".join(part for part in parts if "KeyError" not in part)


def _seconds(own: dict[str, Any] | None) -> float | None:
    if not own or "warm_up" not in own:
        return None
    return statistics.median(own["seconds"] or [own["warm_up"]])


def table(title: str, found: dict[str, dict[str, Any]], sides: Sequence[str]) -> Table:
    """What people read."""
    rows: list[list[Value]] = []
    read = _busy(found[READ]["ours"])
    for rule, by_side in found.items():
        ours = by_side["ours"]
        took = _seconds(ours)
        busy = _busy(ours)
        row: list[Value] = [rule, _reason(ours) if took is None else took, busy]
        row.append(busy / read if busy and read else None)
        row.append(max(ours["extra_mb"], default=None))
        for peer in sides[1:]:
            own = by_side.get(peer, {})
            theirs = _seconds(own)
            row.append(_reason(own) if theirs is None else theirs)
            row += [theirs / took if theirs and took else None, _busy(own)]
            row.append(max(own.get("extra_mb", []), default=None))
        rows.append(row)
    columns = ["rule", "ours s", "CPU s", "reads", "extra MiB"]
    for peer in sides[1:]:
        columns += [f"{peer} s", "times ours", "CPU s", "extra MiB"]
    return Table(title, columns, rows)


def _busy(own: dict[str, Any]) -> float | None:
    return min(own.get("cpu_seconds", []), default=None)


def _reason(own: dict[str, Any]) -> str | None:
    error = own.get("error", "KeyError")
    known = "no memory" if "memory" in error.lower() else error.removeprefix("ValueError: ")
    return None if "KeyError" in error else known


def differences(sides: dict[str, Side], rules: Sequence[str]) -> dict[str, float]:
    """How far byzfl is from ours in float64."""
    found: dict[str, float] = {}
    for clients in (11, 15, 30):
        for side in (sides["ours"], sides["byzfl"]):
            side.hold(clients, num_parameters(1), True, "cpu", 0)
        for rule in rules:
            theirs = sides["byzfl"].aggregate(SAME.get(rule, rule)).get("update")
            if theirs is None or rule == "bucketing":
                continue
            answer = sides["ours"].aggregate(rule)
            if "error" in answer:
                raise RuntimeError(f"{rule}: {answer['error']}")
            ours = np.array(answer["update"])
            apart = float(np.linalg.norm(ours - np.array(theirs)) / np.linalg.norm(ours))
            found[rule] = max(apart, found.get(rule, 0))
    return found


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    given = sys.argv[1:] if given is None else given
    parser = arguments(__doc__)
    parser.description, parser.formatter_class = __doc__, RawDescriptionHelpFormatter
    parser.add_argument("--rules", nargs="+", choices=available("defense"), metavar="RULE")
    parser.add_argument("--cohorts", nargs="+", choices=COHORTS)
    parser.add_argument("--repeats", type=int, default=5, help="rounds after the first")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="for all sides")
    asked = parser.parse_args(given)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    about = facts("bench.aggregators", given, asked.device)
    rules = asked.rules or available("defense")
    cohorts = {name: COHORTS[name] for name in asked.cohorts or COHORTS}
    if asked.toy:
        cohorts = {"toy": (11, 1)}
    names = ["ours"] if not PEERS_PYTHON.exists() else list(SIDES)
    measured, tables = dict[str, Any](), list[Table]()
    with ExitStack() as stack:
        sides = {name: stack.enter_context(Side(SIDES[name])) for name in names}
        apart = differences(sides, rules) if "byzfl" in sides else {}
        for cohort, (K, width) in cohorts.items():
            P = num_parameters(width)
            found = measure(sides, [READ, *rules], (K, P), asked.repeats, asked.device)
            title = f"{K:,} clients, {P:,} parameters, {K * P * 4 / 2**20:,.0f} MiB"
            measured[cohort] = found
            tables.append(table(title, found, list(SIDES)))
    if apart:
        rows: list[list[Value]] = [[rule, value] for rule, value in apart.items()]
        tables.append(Table("byzfl in float64", ("rule", "difference"), rows))
    data = {"cohorts": measured, "differences": apart}
    notes = [*NOTES, *(DIFFERENT if apart else ())]
    name = "_".join(["aggregators", *(asked.cohorts or [])]).replace("-", "_")
    Result(name, about, data, tables, notes).publish(asked.out)
    return asked.out / f"{name}.json"


if __name__ == "__main__":
    main()
