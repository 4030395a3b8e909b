"""C sources, compiled for this CPU with the system's compiler at first use, and cached."""

import hashlib
import logging
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from benchmark.utils.files import cache_folder, digest

log = logging.getLogger("benchmark")

REALS = ("float", "double")
"""What a source calls ``REAL``, one object file for each."""
FLAGS = ("-O3", "-march=native", "-fPIC")


def compiled(source: Path) -> Path:
    """The shared library of a source, which may include others whose names begin alike.

    Raises:
        OSError, subprocess.SubprocessError: there is no compiler, or it fails; says why.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]

    def run(*arguments: str) -> bytes:
        done = subprocess.run([*compiler, *arguments], capture_output=True, timeout=120)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            said = said or [f"exit status {done.returncode}"]
            fault = next((line for line in said if "error" in line.lower()), said[0])
            raise OSError(f"{compiler[0]}: {fault}")
        return done.stdout

    # What -march=native means here: a cache may be shared by machines.
    target = run("-march=native", "-dM", "-E", "-x", "c", os.devnull) + run("--version")
    sources = sorted(source.parent.glob(f"{source.stem}*.c"))
    known = b"\0".join([*(path.read_bytes() for path in sources), " ".join(FLAGS).encode(), target])
    name = f"{source.stem}-{hashlib.sha256(known).hexdigest()[:16]}"
    # The name holds what the bytes are: loading other bytes would end the process.
    for path in cache_folder().glob(f"{name}-*.so"):
        if path.stem == f"{name}-{digest(path)}":
            return path
        log.warning("%s: damaged, compiled again", path)
        path.unlink(missing_ok=True)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        objects = [f"{folder}/{real}.o" for real in REALS]
        for real, built in zip(REALS, objects, strict=True):
            run(*FLAGS, f"-DREAL={real}", "-c", str(source), "-o", built)
        library = Path(folder) / f"{name}.so"
        run("-shared", *objects, "-o", str(library), "-lm")
        return library.replace(cache_folder() / f"{name}-{digest(library)}.so")
