"""What a node of a cluster does with cells, in a folder that it shares with no other machine."""

import os
import pickle
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from traceback import format_exc

from benchmark import __version__
from benchmark.config import plugins
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round
from benchmark.run.executors.nursery import Nursery
from benchmark.run.executors.transfer import Files, Told, checkpoints, packed, unpacked
from benchmark.run.executors.worker import work
from benchmark.utils.errors import FullError, UserError, one_line
from benchmark.utils.files import atomic_folder, locked

SAME = ("torch", "numpy", "pytorch-lightning")
"""Must be of one version everywhere, as this package, but for the build of torch."""
GATHER_SECONDS = 0.1
"""Rounds that come faster are told together: a message costs as much as a round of a toy."""
END_SECONDS = 5.0
"""For which a worker that leaves waits for its process to be gone."""

Tell = Callable[[Sequence[Told]], None]


def versions() -> dict[str, str]:
    """Those that must be the same on all nodes."""
    # As installed: to ask torch itself, a command would import it first.
    installed = {name: version(name).partition("+")[0] for name in SAME}
    return {"fedbackdoor": __version__, **installed}


class Cells:
    """Runs cells in this process, one at a time.

    Args:
        home: where the machine's workers share data and clean rounds.
        folder: for results, its own.
    """

    def __init__(self, home: Path, folder: Path):
        self.home, self.folder = home, folder
        self._given_up = (0, "")

    def stop(self, turn: int, reason: str) -> None:
        """Have a turn given up after its round."""
        self._given_up = turn, reason

    def run(self, turn: int, cell: Cell, kept: Files, tell: Tell) -> None:
        """Run a cell; what is told last is how it ended.

        Args:
            turn: 1, 2, ...; a stop may come when its turn is over and the same cell runs again.
            cell: its data lie in the home.
            kept: its checkpoint, if it goes on from one.
            tell: is given one event or several, in their order.
        """
        saved, waiting = set(kept), list[Told]()
        at = -GATHER_SECONDS

        def told(event: Event) -> None:
            nonlocal at
            new = {str(p.relative_to(self.folder)) for p in self.folder.glob(checkpoints(cell))}
            waiting.append(
                Told(event, packed(self.folder, checkpoints(cell)) if new - saved else {})
            )
            saved.update(new)
            if time.monotonic() > at + GATHER_SECONDS:
                tell(waiting)
                waiting.clear()
                at = time.monotonic()

        def given_up() -> str | None:
            stopped, reason = self._given_up
            return reason if stopped == turn else None

        last = Told(self._ended(cell, kept, told, given_up), {})
        if isinstance(last.event, Finished):
            last = replace(last, files=packed(self.folder, str(cell.weights_path(Path()))))
        for name in ("records", "weights", "work"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        tell([*waiting, last])

    def _ended(
        self,
        cell: Cell,
        kept: Files,
        told: Callable[[Event], None],
        given_up: Callable[[], str | None],
    ) -> Event:
        where = socket.gethostname()
        try:
            here = replace(cell, data=data_folder(self.home, cell))
            if here.id != cell.id:
                raise UserError(
                    f"the code on {where} is not that of this command ({here.fingerprint[:12]}, "
                    f"not {cell.fingerprint[:12]}): install the same there"
                )
            unpacked(kept, self.folder)
            event = work(here, self.folder, told, given_up)
        except FullError as error:
            event = Failed(cell, str(error), "", is_fatal=True)
        except UserError as error:
            event = Failed(cell, str(error), "")
        except BaseException as error:  # or nobody would ever be told
            event = Failed(cell, f"{type(error).__name__}: {one_line(error)}", format_exc())
        if isinstance(event, Failed) and event.is_fatal:
            event = replace(event, reason=f"{where}: {event.reason}")
        return event


def data_folder(home: Path, cell: Cell) -> Path:
    """Where the data of a cell lie on a node."""
    return home / "data" / cell.data_hash


def serve(connection: Connection, home: Path, folder: Path, places: Sequence[Path]) -> None:
    """Run the cells that come in until whoever sends them is gone.

    Args:
        connection: brings turns, each with its cell and checkpoint or with why to stop.
        home, folder: as :class:`Cells`.
        places: of plug-ins.
    """
    # Ctrl-C is the command's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plugins.use(places)
    cells = Cells(home, folder)

    def tell(told: Sequence[Told]) -> None:
        is_last = not isinstance(told[-1].event, Round)
        connection.send_bytes(bytes([is_last]) + pickle.dumps(told, pickle.HIGHEST_PROTOCOL))

    with suppress(EOFError, OSError):
        while True:
            match connection.recv():
                case turn, cell, kept:
                    Thread(target=cells.run, args=(turn, cell, kept, tell), daemon=True).start()
                case turn, reason:
                    cells.stop(turn, reason)
    # Whatever is at work: nobody would be told.
    os._exit(1)


class NodeWorker:
    """An actor: has a process run cells, one at a time, and hands on what it tells.

    That process is forked from one that all workers of the machine share, as they share data and
    clean rounds. It ends with this one, and this one with it.

    Args:
        folders: of plug-ins, with their names.
        address: of the cluster, for cells that use it themselves.
    """

    def __init__(self, folders: Sequence[tuple[str, Files]], address: str = ""):
        self.nursery = Nursery.of_this_machine()
        # Its own results, beside what is shared.
        self.folder = Path(tempfile.mkdtemp(prefix="worker-", dir=self.nursery.home))
        places = [self.folder / f"plugins-{i}" / name for i, (name, _) in enumerate(folders)]
        for place, (_, files) in zip(places, folders, strict=True):
            unpacked(files, place)
        os.environ["RAY_ADDRESS"] = address
        self.connection, self.process = self.nursery.forked(
            serve, self.nursery.home, self.folder, places
        )
        self.sending = Lock()

    def facts(self) -> tuple[str, dict[str, str]]:
        """The machine's name, and its versions."""
        return socket.gethostname(), versions()

    def run(self, turn: int, cell: Cell, data: Files, kept: Files) -> Iterator[bytes]:
        """Run a cell; what is told last is how it ended.

        Args:
            turn: another number each time.
            cell: what to run.
            data: its partition.
            kept: its checkpoint, if it goes on from one.

        Yields:
            Pickled, :class:`Told` of one event or several.
        """
        folder = data_folder(self.nursery.home, cell)
        with locked(folder.with_suffix(".lock")):
            if not folder.exists():
                with atomic_folder(folder) as made:
                    unpacked(data, made)
        try:
            self._send(turn, cell, kept)
            is_last = False
            while not is_last:
                told = self.connection.recv_bytes()
                is_last = bool(told[0])
                yield told[1:]
        except (EOFError, OSError):
            # As if it had been this process itself that was killed.
            os._exit(1)

    def stop(self, turn: int, reason: str) -> None:
        """Have a turn given up after its round."""
        self._send(turn, reason)

    def leave(self) -> None:
        """Leave nothing on the machine where no other worker is; this one is ended then."""
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
            # Or it would write on into what is removed.
            until = time.monotonic() + END_SECONDS
            while time.monotonic() < until:
                os.kill(self.process, 0)
                time.sleep(0.01)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.nursery.leave()

    def _send(self, *what: int | Cell | Files | str) -> None:
        with self.sending:
            self.connection.send(what)
