"""What a node of a cluster does with cells, in a folder that it shares with no other machine."""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from traceback import format_exc

import numpy as np

from benchmark import __version__
from benchmark.config import plugins
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round
from benchmark.run.executors.worker import work
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.files import atomic_file, atomic_folder, locked

Files = Mapping[str, np.ndarray]
"""Paths, relative to some folder, and their bytes, uint8."""

SAME = ("fedbackdoor", "torch", "numpy", "pytorch-lightning")
"""Must be of one version everywhere, but for the build of torch."""


@dataclass(frozen=True)
class Told:
    """What comes back of a cell.

    Attributes:
        event: what happened.
        files: new in its results: a checkpoint, or the final model.
    """

    event: Event
    files: Files


def packed(folder: Path, pattern: str = "**/*") -> Files:
    """Files of a folder, but those that Python compiled."""
    paths = (p for p in sorted(folder.glob(pattern)) if p.is_file() and p.suffix != ".pyc")
    return {str(path.relative_to(folder)): np.fromfile(path, np.uint8) for path in paths}


def unpacked(files: Files, folder: Path) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        content.tofile(folder / name)


def checkpoints(cell: Cell) -> str:
    """Those of a cell, in a suite's results."""
    return str(cell.work_path(Path()) / "round-*.ckpt")


def save(files: Files, cell: Cell, folder: Path) -> None:
    """Write what came of a cell into its suite's results, in the place of earlier checkpoints."""
    before = set(folder.glob(checkpoints(cell)))
    for name, content in files.items():
        with atomic_file(folder / name) as path:
            content.tofile(path)
    if files:
        for earlier in before - {folder / name for name in files}:
            earlier.unlink(missing_ok=True)  # another command may have been first


def versions() -> dict[str, str]:
    """Those of :data:`SAME`."""
    # Imported late, as it imports torch.
    from benchmark.utils.machine import environment

    known = {"fedbackdoor": __version__, **environment()}
    return {name: known[name].partition("+")[0] for name in SAME}


class NodeWorker:
    """Runs cells, one at a time; data and clean rounds are shared by all workers of the machine.

    Args:
        folders: of plug-ins, with their names.
    """

    def __init__(self, folders: Sequence[tuple[str, Files]]):
        self.home, self._held = _home()
        # Its own results, beside what is shared.
        self.folder = self.home / f"worker-{os.getpid()}"
        shutil.rmtree(self.folder, ignore_errors=True)
        places = [self.folder / f"plugins-{i}" / name for i, (name, _) in enumerate(folders)]
        for place, (_, files) in zip(places, folders, strict=True):
            unpacked(files, place)
        plugins.use(places)
        # What trains takes seconds to import.
        import benchmark.run.training  # noqa: F401

        self._given_up = ("", "")

    def facts(self) -> tuple[str, dict[str, str]]:
        """The machine's name, and its versions."""
        return socket.gethostname(), versions()

    def run(self, cell: Cell, data: Files, kept: Files) -> Iterator[Told]:
        """Run a cell; what is told last is how it ended.

        Args:
            cell: what to run.
            data: its partition.
            kept: its checkpoint, if it goes on from one.
        """
        told, self._given_up = SimpleQueue[Told](), ("", "")
        # Beside this thread, which sends what is told.
        Thread(target=self._run, args=(cell, data, kept, told.put), daemon=True).start()
        while True:
            last = told.get()
            yield last
            if not isinstance(last.event, Round):
                return

    def stop(self, cell: str, reason: str) -> None:
        """Have a cell given up after its round."""
        self._given_up = cell, reason

    def leave(self) -> None:
        """Leave nothing on the machine where no other worker is; this one is ended then."""
        with suppress(BlockingIOError):
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.home, ignore_errors=True)
        os.close(self._held)

    def _run(self, cell: Cell, data: Files, kept: Files, tell: Callable[[Told], None]) -> None:
        saved = set(kept)

        def told(event: Event) -> None:
            new = {str(p.relative_to(self.folder)) for p in self.folder.glob(checkpoints(cell))}
            files = packed(self.folder, checkpoints(cell)) if new - saved else {}
            saved.update(new)
            tell(Told(event, files))

        def given_up() -> str | None:
            stopped, reason = self._given_up
            return reason if stopped == cell.id else None

        files: Files = {}
        try:
            unpacked(kept, self.folder)
            event = work(self._here(cell, data), self.folder, told, given_up)
            if isinstance(event, Finished):
                files = packed(self.folder, str(cell.weights_path(Path())))
            for name in ("records", "weights", "work"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        except UserError as error:
            event = Failed(cell, str(error), "")
        except BaseException as error:  # or nobody would ever be told
            event = Failed(cell, f"{type(error).__name__}: {one_line(error)}", format_exc())
        tell(Told(event, files))

    def _here(self, cell: Cell, data: Files) -> Cell:
        """The cell with its data where they lie here."""
        folder = self.home / "data" / cell.data_hash
        with locked(folder.with_suffix(".lock")):
            if not folder.exists():
                with atomic_folder(folder) as made:
                    unpacked(data, made)
        here = replace(cell, data=folder)
        if here.id != cell.id:
            raise UserError(
                f"the code on {socket.gethostname()} is not that of this command "
                f"({here.fingerprint[:12]}, not {cell.fingerprint[:12]}): install the same there"
            )
        return here


def _home() -> tuple[Path, int]:
    """What the workers of this machine share, held by each as long as it lives."""
    home = Path(tempfile.gettempdir()) / f"fedbackdoor-{os.getuid()}"
    while True:
        home.mkdir(mode=0o700, exist_ok=True)
        # The last one before may remove it meanwhile: then this holds nothing.
        with suppress(FileNotFoundError):
            # Of a link, whose it is, and not where it leads.
            if home.lstat().st_uid != os.getuid():
                raise UserError(f"{home} on {socket.gethostname()} is another user's: set TMPDIR")
            held = os.open(home, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(held), home.stat()):
                    return home, held
            os.close(held)
