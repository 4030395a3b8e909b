"""Writing so that a reader never meets half a file: beside the target, then renamed."""

import errno
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.utils.errors import FullError


def cache_folder() -> Path:
    """``FEDBACKDOOR_CACHE``, by default ``~/.cache/fedbackdoor``."""
    return Path(os.environ.get("FEDBACKDOOR_CACHE") or Path.home() / ".cache" / "fedbackdoor")


@contextmanager
def space_for(path: Path) -> Iterator[None]:
    """Say so where a disk, a quota or the allowed size of a file ends while ``path`` is written.

    Raises:
        FullError: names the folder that is full: that of ``path``, or that of temporary files.
    """
    try:
        yield
    except FullError:
        raise
    except OSError as error:
        # numpy says how many bytes it wrote, and gives no number.
        if error.errno not in FULL and not (error.errno is None and " written" in str(error)):
            raise
        places = [next(p for p in path.parents if p.exists()), Path(tempfile.gettempdir())]
        full = min(places, key=lambda place: shutil.disk_usage(place).free)
        why = os.strerror(error.errno or errno.ENOSPC)
        raise FullError(
            f"{path}: {why} in {full}; with more room the same command goes on from here"
        ) from error


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in ``path``'s folder; rename it to ``path`` if the block succeeds.

    Raises:
        FullError: no space is left.
    """
    with space_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file to the disk, so that a rename never outlives what it names."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


GUNZIP_RATIO = 200
"""Images and JSON shrink to a twentieth at most; a few MB of nothing would fill the memory."""


def gunzip(path: Path) -> bytes:
    """The content of a gzip file: at most 16 MiB, or ``GUNZIP_RATIO`` times as long.

    Raises:
        OSError, EOFError, zlib.error: it is missing, no gzip file, cut, damaged or longer.
    """
    most = max(GUNZIP_RATIO * path.stat().st_size, 2**24)
    with gzip.open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise gzip.BadGzipFile(f"more than {GUNZIP_RATIO} times its size when it is unpacked")
    return content


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As :func:`atomic_file` for a whole folder, which replaces ``path`` if that exists."""
    with space_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                path.replace(old)
                temporary.replace(path)
                shutil.rmtree(old)
            else:
                temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel lets go of it when the process dies.

    Raises:
        BlockingIOError: another holds it, and there is no ``wait``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                current = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                current = False
            # Whoever held it may have removed it meanwhile: then this is a lock on nothing.
            if current:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused, since JSON has neither."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False, **options)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
