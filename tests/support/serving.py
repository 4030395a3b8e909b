"""Servers of this machine, started for a test and gone after it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return int(reserved.getsockname()[1])


def started(
    command: Sequence[str], port: int, folder: Path, workplace: Path | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """A program that listens at the port, and its address; what it says goes to the folder."""
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            command, cwd=workplace or folder, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.2)
    stop(server)
    raise AssertionError((folder / "server.log").read_text())


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and the workers that it started."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
