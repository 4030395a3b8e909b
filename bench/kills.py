"""Kill a tracked suite's processes at random moments; what comes of it must be as undisturbed.

A suite of 12 small cells with two workers and MLflow runs once undisturbed. Then, trial by trial in
a new folder, a random process of the command's group (the command, a worker, what workers are
forked from, multiprocessing's resource tracker) gets SIGKILL at a random moment: two of five in the
first three seconds after a start or after the kill before, two of five while there are workers, the
others at any time. A command that has ended is started again, often while others of its processes
are still there. At last the same command runs to its end. It must exit with 0, no log may hold a
traceback and no process may stay; results of records, weights by their hashes, names of files, and
what mlflow.db holds (runs, parameters, metrics at every step, tags) must equal those of the
undisturbed run. What a run took may differ.

    python -m bench.kills --kills 40 --folder kills

prints a line for each trial and exits with 1 if one differs. Its folder and logs show why; --seed
draws other moments. A trial takes a minute or two on two cores. Linux only.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.measure import say
from bench.report import Table, Value, terminal
from benchmark.run.record import NOT_IN_THE_RESULT

ROOT = Path(__file__).parents[1]
SUITE = """\
suite:
  name: smoke
  axes:
    attack: [none, boosted]
    defense: [mean, {norm_clip: {norm_bound: 0.5}}, {weak_dp: {norm_bound: 0.5}}]
  seeds: [0, 1]
"""
CELLS = 12
WORDS = (
    "suite smoke --params params.yaml --workers 2 data=digits5k task.num_tasks=2 "
    "federation.rounds=20 federation.clients_per_round=3 federation.local_epochs=1 "
    "federation.evaluate_every=1 federation.checkpoint_every=1 engine.workers=1"
)
EARLY_SECONDS, EARLY_SHARE, WORKING_SHARE = 3.0, 0.4, 0.4
MOST_KILLS = 6
PATIENCE_SECONDS = 600.0
"""After which a command hangs, and a process has stayed after a tenth of it."""

TOOK = ("cost/", "5_seconds_per_round")
TAGS = ("execution", "mlflow.user", "mlflow.rootRunId", "mlflow.parentRunId")
"""What may differ: seconds and memory; ids."""


class Command:
    """A started command, the first of a process group of its own."""

    def __init__(self, folder: Path, number: int, words: str):
        self.log = folder.parent / f"{folder.name}-{number}.log"
        self.start = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmark", *words.split()],
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def members(self) -> dict[int, str]:
        """The living processes of its group, by what they are."""
        return dict(_members(self.process.pid))

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def has_workers(self) -> bool:
        """Wait for one; whether there is any before it ends."""
        while "worker" not in self.members().values():
            if self.ends_within(0.05):
                return False
        return True

    def kill_one(self, draws: random.Random) -> str:
        """Kill one of its processes; which one, and when."""
        members = self.members()
        victim = draws.choice(sorted(members))
        os.kill(victim, signal.SIGKILL)
        if victim == self.process.pid:
            self.process.wait()
        return f"{members[victim]} {time.monotonic() - self.start:.1f}"


def _members(group: int) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, of, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            words, pid = (folder / "cmdline").read_text(), int(folder.name)
            if int(of) == group and state not in "ZX":
                is_server = "forkserver" in words and int(parent) == group
                tracker = "tracker" if "resource_tracker" in words else "worker"
                yield pid, "command" if pid == group else "server" if is_server else tracker


def trial(folder: Path, kills: int, draws: random.Random, longest: float) -> tuple[list[str], str]:
    """Kill so often, or until it has ended, then let it end.

    Args:
        folder: new.
        kills: at most.
        draws: of moments and processes.
        longest: seconds after which no kill comes.

    Returns:
        The kills, and what is wrong.
    """
    prepare(folder)
    commands, done = [Command(folder, 0, WORDS)], []
    for _ in range(kills):
        if commands[-1].process.poll() is not None:
            commands.append(Command(folder, len(commands), WORDS))
        kind, wait = draws.random(), draws.uniform(0, longest)
        if kind < EARLY_SHARE:
            wait = draws.uniform(0, EARLY_SECONDS)
        elif kind < EARLY_SHARE + WORKING_SHARE and commands[-1].has_workers():
            wait = draws.uniform(0, longest / 4)
        if not commands[-1].ends_within(wait):
            done.append(commands[-1].kill_one(draws))
    faults = [] if commands[-1].ends_within(PATIENCE_SECONDS) else ["hangs after a kill"]
    commands.append(Command(folder, len(commands), WORDS))
    if not commands[-1].ends_within(PATIENCE_SECONDS):
        faults.append("hangs at last")
    elif status := commands[-1].process.returncode:
        faults.append(f"exits with {status}")
    end = time.monotonic() + PATIENCE_SECONDS / 10
    for command in commands:
        while command.members() and time.monotonic() < end:
            time.sleep(0.1)
        faults += [f"{name} {pid} stays" for pid, name in command.members().items()]
        if "Traceback" in command.log.read_text():
            faults.append(f"traceback in {command.log.name}")
        with suppress(ProcessLookupError):
            os.killpg(command.process.pid, signal.SIGKILL)
    return done, "; ".join(faults)


def prepare(folder: Path) -> None:
    """A working directory with the suite."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(SUITE)


def outcome(folder: Path) -> dict[str, Any]:
    """All that must come out the same: a value for each thing, by its name."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] == "results" and "records" in name.parts:
            record = json.loads(path.read_text())
            found[str(name)] = {k: v for k, v in record.items() if k not in NOT_IN_THE_RESULT}
        elif name.parts[0] in ("results", "data"):
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        runs = dict(store.execute("SELECT run_uuid, name FROM runs WHERE lifecycle_stage='active'"))
        found["MLflow: runs"] = sorted(
            store.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'")
        )
        for what, columns in {
            "params": "key, value",
            "metrics": "key, step, value, is_nan",
            "latest_metrics": "key, step, value, is_nan",
            "tags": "key, value",
        }.items():
            rows = store.execute(f"SELECT run_uuid, {columns} FROM {what}").fetchall()
            # A command that ended without a cell told so in the suite's run: its latest counts.
            told = {run for run, name in runs.items() if what != "metrics" or name != "smoke"}
            found[f"MLflow: {what}"] = sorted(
                (runs[run], *row)
                for run, *row in rows
                if run in told and not row[0].startswith(TOOK) and row[0] not in TAGS
            )
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what is missing, too much or another value."""
    names = dict.fromkeys([*expected, *found])
    return [name for name in names if found.get(name) != expected.get(name)]


def main(given: Sequence[str] | None = None) -> int:
    """Run the trials; 1 if one differs."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=40, help="in all trials (default: 40)")
    parser.add_argument("--folder", type=Path, required=True, help="for runs and logs; empty")
    parser.add_argument("--seed", type=int, default=0, help="of moments and processes (default: 0)")
    asked = parser.parse_args(given)
    if asked.folder.exists() and any(asked.folder.iterdir()):
        parser.error(f"{asked.folder} is not empty; name another folder")
    undisturbed, draws = asked.folder / "undisturbed", random.Random(asked.seed)
    start = time.monotonic()
    if fault := trial(undisturbed, 0, draws, 0)[1]:
        parser.error(f"the undisturbed suite {fault}; its logs are in {asked.folder}")
    longest, expected = time.monotonic() - start, outcome(undisturbed)
    if sum("records" in name for name in expected) != CELLS:
        parser.error(f"the undisturbed suite did not leave {CELLS} records in {undisturbed}")
    rows: list[list[Value]] = []
    every: list[float] = []
    while len(every) < asked.kills:
        folder = asked.folder / f"trial-{len(rows) + 1}"
        kills = draws.randint(1, min(MOST_KILLS, asked.kills - len(every)))
        done, fault = trial(folder, kills, draws, longest)
        every += [float(kill.split()[1]) for kill in done]
        faults = [fault] * bool(fault) + differences(outcome(folder), expected)
        rows.append([folder.name, ", ".join(done), "; ".join(faults) or "equal"])
        say("  ".join(map(str, rows[-1])))
    title = "killed, and the second after the command's start"
    wide = Console(width=None if sys.stdout.isatty() else 160)
    wide.print(terminal(Table(title, ("trial", "killed", "outcome"), rows)))
    early = sum(moment < EARLY_SECONDS for moment in every)
    equal = sum(row[-1] == "equal" for row in rows)
    told = f"{len(every)} kills, {early} in the first three seconds"
    wide.print(f"{told}; {equal} of {len(rows)} trials equal")
    return int(equal < len(rows))


if __name__ == "__main__":
    sys.exit(main())
