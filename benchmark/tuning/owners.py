"""Who runs a trial: a process of a machine, so that trials of dead ones are known at once."""

import os
import socket
from pathlib import Path

OWNER = "owner"
"""User attribute of a trial: who runs it."""


def owner() -> str:
    """This process, on this machine or in this container: ``machine pid start``."""
    return f"{_machine()} {os.getpid()} {_start(os.getpid())}"


def is_dead(named: str) -> bool:
    """Whether a process of this machine has ended; False where that cannot be known."""
    machine, _, rest = named.partition(" ")
    pid, _, start = rest.partition(" ")
    return machine == _machine() and start != "None" and str(_start(int(pid))) != start


def _machine() -> str:
    try:
        # Machines of one image share a name, and containers share a machine.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = ""
    return socket.gethostname().replace(" ", "") + boot


def _start(pid: int) -> int | None:
    """When it was started, in ticks; None where there is none, or that cannot be known."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(values[18])
