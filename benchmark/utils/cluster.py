"""Reaching a Ray cluster: the one that an address names, or one of this machine's own."""

import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.utils.errors import UserError
from benchmark.utils.fingerprint import INSTALLED, LIBRARIES, ROOT

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Set where the user has not: Ray tells nobody of us, and a cell sees the GPUs that it asks for."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What every gRPC server answers, with a frame of the same kind, its settings."""
REACH_SECONDS = 10.0


def connected(address: str, cpus: float, group: str) -> tuple[Any, bool]:
    """The module ``ray``, connected, and whether it was not before: who is part of it stays.

    Args:
        address: ``HOST:PORT``, ``auto``, or ``local`` for a cluster of this machine alone.
        cpus: that one of this machine has.
        group: of the configuration, that names the address.

    Raises:
        UserError: Ray is not installed, or is not there.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"{group}=ray needs Ray: pip install 'fedbackdoor[ray]'") from None
    if ray.is_initialized():
        return ray, False
    if "://" in address:
        raise UserError(
            f"{group}.address={address}: HOST:PORT, auto or nothing; a command runs on a node of "
            "the cluster, where `ray job submit` puts it"
        )
    own: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        own |= {"num_cpus": math.ceil(cpus), "include_dashboard": False}
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    host, _, port = address.rpartition(":")
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        if host:
            _probe(host, int(port))
        ray.init(address=address, **own)
        # There is no option for what it prints to standard output of nodes that were lost.
        ray._private.worker._worker_logs_enabled = False
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"{group}.address={address}: no Ray cluster: {error}") from error
    finally:
        # Ray would end this process by SystemExit; it ends as by Ctrl-C.
        signal.signal(signal.SIGTERM, on_terminate)
    return ray, True


def _probe(host: str, port: int) -> None:
    """See whether Ray could be there: itself it would try for minutes, and tell each time.

    Raises:
        OSError: nothing answers, or something else.
    """
    with socket.create_connection((host, port), REACH_SECONDS) as connection:
        connection.sendall(HELLO)
        if connection.recv(4)[3:] != HELLO[-6:-5]:
            raise OSError("something else answers there")


def room(ray: Any, resources: Mapping[str, float]) -> int:
    """How many workers the nodes have room for, whoever uses it now."""
    wanted = [(kind, amount) for kind, amount in resources.items() if amount]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(has.get(kind, 0) / n + 1e-6) for kind, n in wanted) for has in nodes)


def carry_code(ray: Any) -> None:
    """Have the code of plug-ins go along with what is sent of them, as no node has it installed."""
    for module in list(sys.modules.values()):
        path = Path(getattr(module, "__file__", None) or LIBRARIES[0])
        known = (*LIBRARIES, ROOT / "benchmark")
        if not any(map(path.is_relative_to, known)) and not INSTALLED & set(path.parts):
            ray.cloudpickle.register_pickle_by_value(module)
