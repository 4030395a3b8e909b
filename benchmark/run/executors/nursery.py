"""What a machine's workers are forked from: one process, which has imported what trains.

It listens on a socket in the folder that the workers of a machine share. Whoever connects has
another end that is served by a new process, which takes milliseconds instead of seconds. It ends,
and takes the folder along, when nobody holds that any more.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from benchmark.utils.errors import UserError
from benchmark.utils.files import locked

SOURCE = Path(__file__).parents[2]
LOOK_SECONDS = 1.0
"""Between looks whether anybody is there."""
STAY_SECONDS = 10.0
"""After all were killed: whoever follows them need not import it all again."""
MANY = 128
"""Who may wait to be served while it imports."""


@dataclass
class Nursery:
    """A folder that the workers of a machine share, and hold as long as they live.

    Attributes:
        home: the folder.
        held: of it, a descriptor with a shared lock.
    """

    home: Path
    held: int

    @staticmethod
    def of_this_machine() -> "Nursery":
        """That of this user, in the folder of temporary files.

        Raises:
            UserError: somebody else has put something there.
        """
        home = Path(tempfile.gettempdir()) / f"fedbackdoor-{os.getuid()}"
        while True:
            home.mkdir(mode=0o700, exist_ok=True)
            # The last one before may remove it meanwhile: then this holds nothing.
            with suppress(FileNotFoundError):
                # Of a link, whose it is, and not where it leads.
                if home.lstat().st_uid != os.getuid():
                    where = f"{home} on {socket.gethostname()}"
                    raise UserError(f"{where} is another user's: set TMPDIR")
                held = os.open(home, os.O_RDONLY)
                fcntl.flock(held, fcntl.LOCK_SH)
                if _is_at(held, home):
                    return Nursery(home, held)
                os.close(held)

    def leave(self) -> None:
        """Let go of the folder, and leave nothing where nobody else is."""
        with suppress(BlockingIOError):
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.home, ignore_errors=True)
        os.close(self.held)

    def prepare(self) -> None:
        """Start the process, where there is none yet; it has imported what trains in a while."""
        self._connected().close()

    def forked(self, serve: Callable[..., None], *arguments: Any) -> tuple[Connection, int]:
        """A connection whose other end is served by a new process, and its number.

        It has this one's environment and path.

        Args:
            serve: is given its end, then ``arguments``.
            arguments: can be pickled.

        Raises:
            UserError: what it is forked from does not start.
        """
        connection = self._connected()
        try:
            connection.send((dict(os.environ), sys.path, serve, arguments))
            return connection, connection.recv()
        except (EOFError, OSError):
            said = self._path.with_suffix(".log").read_text().strip().splitlines()
            raise UserError(f"what workers are forked from ended: {said[-1:]}") from None

    @cached_property
    def _path(self) -> Path:
        """Of the socket: another one for other code, as this one has imported what it forks."""
        files = [(path, path.stat().st_mtime_ns) for path in sorted(SOURCE.rglob("*.py"))]
        code = f"{sys.executable} {files}".encode()
        return self.home / f"nursery-{hashlib.sha256(code).hexdigest()[:8]}"

    @property
    def _address(self) -> str:
        """Of the socket, in the 100 characters that there are for it."""
        folder = Path(f"/proc/self/fd/{self.held}")
        return str((folder if folder.exists() else self.home) / self._path.name)

    def _connected(self) -> Connection:
        with locked(self._path.with_suffix(".lock")):
            try:
                return Client(self._address)
            except (FileNotFoundError, ConnectionRefusedError):
                self._start()
                return Client(self._address)

    def _start(self) -> None:
        self._path.unlink(missing_ok=True)
        words = [str(self.home), *(os.path.abspath(folder) for folder in sys.path)]
        with (
            socket.socket(socket.AF_UNIX) as listener,
            self._path.with_suffix(".log").open("w") as log,
        ):
            listener.bind(self._address)
            listener.listen(MANY)
            code = f"import sys; sys.path[:] = sys.argv[3:]; from {__name__} import main; main()"
            subprocess.run(
                [sys.executable, "-P", "-c", code, str(listener.fileno()), *words],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                pass_fds=(listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=True,
            )


def main() -> None:
    """Be what workers are forked from, as nobody's child: Ray ends those of workers with them."""
    if os.fork():
        return
    listener, home = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    folder = os.open(home, os.O_RDONLY)
    import benchmark.run.training  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener.settimeout(LOOK_SECONDS)
    seen = time.monotonic()
    while True:
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            if not _is_at(folder, home):
                return
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen = time.monotonic()
                continue
            if time.monotonic() > seen + STAY_SECONDS:
                shutil.rmtree(home, ignore_errors=True)
                return
            fcntl.flock(folder, fcntl.LOCK_UN)
            continue
        if os.fork() == 0:
            listener.close()
            os.close(folder)
            accepted.setblocking(True)
            _serve(Connection(accepted.detach()))
            os._exit(0)
        accepted.close()


def _is_at(folder: int, path: Path) -> bool:
    """Whether a folder still is what a path names."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(folder), path.stat())
    return False


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        environment, path, serve, arguments = connection.recv()
    except EOFError:
        return  # it only prepared
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    connection.send(os.getpid())
    serve(connection, *arguments)
