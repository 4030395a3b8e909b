"""A Ray cluster: the one that an address names, or one of this machine's own."""

import logging
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from benchmark.utils.errors import UserError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
"""Set where the user has not: Ray tells nobody of us, and keeps off the terminal."""
REACH_SECONDS = 10.0
"""Until the head of a cluster answers."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What every gRPC server answers, with a frame of the same kind, its settings."""


def connected(address: str | None, option: str, cores: float | None = None) -> Any:
    """The module ``ray``, connected; a process that is part of a cluster stays in it.

    Args:
        address: ``HOST:PORT`` of the head, or ``auto`` for the cluster that this machine is part
            of; None takes ``RAY_ADDRESS``, and where that is not set starts a cluster of this
            machine alone, which ends with this process.
        option: how the user says the address.
        cores: of a cluster that is started; None takes what this process may use.

    Raises:
        UserError: Ray is not installed, or no cluster is there.
    """
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed: pip install 'fedbackdoor[ray]'") from None
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise UserError(
            f"{option}={address}: HOST:PORT, auto or nothing; a command runs on a node of the "
            "cluster, where `ray job submit` puts it"
        )
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores or len(os.sched_getaffinity(0)), "include_dashboard": False}
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        if host:
            _probe(host, int(port))
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        ray.init(address=address, **own, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"{option}={address}: no Ray cluster: {error}") from error
    finally:
        # Ray ends a process with SystemExit, and this one ends as by Ctrl-C.
        signal.signal(signal.SIGTERM, on_terminate)
    return ray


def room(ray: Any, wanted: Mapping[str, float]) -> int:
    """For how many of these the nodes have room, whoever uses it now.

    Args:
        ray: connected.
        wanted: resources of each, as Ray names them.
    """
    needs = {kind: amount for kind, amount in wanted.items() if amount}
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(has.get(kind, 0) / n + 1e-6) for kind, n in needs.items()) for has in alive)


def _probe(host: str, port: int) -> None:
    """See whether Ray could be there, which would try for minutes, and tell each time.

    Raises:
        OSError: nothing answers, or something else.
    """
    with socket.create_connection((host, port), REACH_SECONDS) as connection:
        connection.sendall(HELLO)
        if connection.recv(4)[3:] != HELLO[-6:-5]:
            raise OSError("something else answers there")
