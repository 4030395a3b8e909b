"""What is known of the machine that a run is on: memory, threads, versions."""

import platform
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_peak_memory(device: str) -> None:
    """Forget what earlier runs in this process took, where the system can."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)


def peak_memory_mb(device: str) -> float:
    """MiB at the most since the reset: on the device, or resident in this process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    with suppress(OSError, StopIteration):
        lines = _STATUS.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    scale = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Versions, and the commit of this checkout."""
    git = ("git", "-C", str(Path(__file__).parents[1]))
    # In an environment that lies inside somebody's repository it is none of its commits.
    commands = ("ls-files --error-unmatch __init__.py", "describe --always --dirty")
    try:
        for command in commands:
            done = subprocess.run(
                [*git, *command.split()], capture_output=True, text=True, check=True
            )
        commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    libraries = ("pytorch-lightning", "numpy")
    return {
        "commit": commit,
        "python": platform.python_version(),
        "machine": platform.machine(),
        # Of torch the build too, which its package's metadata do not tell.
        "torch": str(torch.__version__),
        **{name: version(name) for name in libraries},
    }
