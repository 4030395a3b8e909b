"""A simulator in a process of its own, which does a round when it is told to."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.rounds import GLOBAL_MODEL
from bench.peers.work import Work

ROOT = Path(__file__).parents[2]
PATIENCE = 60
QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOG_LINES = 30


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of all below it; 0 where the system does not show it."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        below = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return 0.0
    own = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for children in below for child in children)


class Simulator:
    """A context: the process lives inside, and nothing that it started outlives it.

    The process has a session of its own, so that Ctrl-C reaches only us and we end it in order;
    when we are killed it ends by itself, at the next command that does not come.

    Args:
        name: its row in the table.
        command: to which the folder is added.
        work: what it is to do.
        folder: an empty one, for the work, its log and the global models.
    """

    def __init__(self, name: str, command: Sequence[str], work: Work, folder: Path):
        self.name, self.command, self.folder = name, command, folder
        folder.mkdir(parents=True)
        work.write(folder)
        self.log = folder / "log.txt"

    def __enter__(self) -> "Simulator":
        # Threads are each simulator's own decision.
        inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.command, str(self.folder)],
                cwd=ROOT,
                env=inherited | QUIET | {"FLWR_HOME": str(self.folder / "flwr")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE if kind is None else 0)
        except subprocess.TimeoutExpired:
            self._kill()
        self.process.stdout.close()

    def _kill(self) -> None:
        """First so that it can clear up: Ray's processes are in sessions of their own."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, sent)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE / 4)
                return

    def ready(self) -> dict[str, Any]:
        """Wait until it is set up; its versions and threads."""
        return self._answer()

    def round(self) -> tuple[float, float]:
        """Let it do a round; the seconds that it took, and those of CPU time."""
        assert self.process.stdin
        before = cpu_seconds(self.process.pid)
        with suppress(BrokenPipeError):
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        return self._answer()["seconds"], cpu_seconds(self.process.pid) - before

    @property
    def theta(self) -> np.ndarray:
        """The global model after the last round, ``(P,)``."""
        return np.load(self.folder / GLOBAL_MODEL)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            said = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise RuntimeError(f"{self.name} ended (status {self.process.wait()}):\n{said}")
        return json.loads(line)
