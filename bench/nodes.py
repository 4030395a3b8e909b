"""A Ray cluster of this machine, whose nodes and workers can be lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300}
"""Seconds until a lost node is noticed are those of a test, not of a network."""


class Nodes:
    """A head that runs nothing, and two nodes with a core and a temporary folder each.

    Args:
        folder: for those folders; empty.
    """

    def __init__(self, folder: Path):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.folder, self.there = folder, list[Any]()
        self.add()
        self.add()

    @property
    def address(self) -> str:
        """Of the head."""
        return str(self.cluster.address)

    @property
    def folders(self) -> list[Path]:
        """Temporary ones of all nodes that there were, the oldest first."""
        return sorted(self.folder.iterdir())

    def add(self) -> None:
        """Have one more node."""
        own = self.folder / f"node-{len(self.folders):03}"
        own.mkdir()
        self.there.append(self.cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(own)}))

    def workers(self) -> list[int]:
        """Processes that run cells."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self.there]
        return [pid for raylet in raylets for pid in _children(raylet) if _is_worker(pid)]

    def kill_worker(self, which: int = 0) -> None:
        """The first of them, or another."""
        with suppress(ProcessLookupError):
            os.kill(self.workers()[which], signal.SIGKILL)

    def lose(self, which: int = 0) -> None:
        """The oldest node, or another, and have a new one."""
        self.cluster.remove_node(self.there.pop(which), allow_graceful=False)
        self.add()

    def close(self) -> None:
        """End all of it."""
        self.cluster.shutdown()


def _children(pid: int) -> Iterator[int]:
    # One that ends meanwhile has none.
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _is_worker(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return "NodeWorker" in Path(f"/proc/{pid}/cmdline").read_text()
    return False
