"""Halting, killing and interrupting a program together with the processes that it started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

Program = subprocess.Popen[str]
PATIENCE_SECONDS = 240
"""After which a test fails; reached only where something is broken."""


def finish(process: Program) -> str:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    return out


def wait_for(what: Callable[[], Any], process: Program | None = None) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def descendants(pid: int) -> Iterator[int]:
    # One that ends meanwhile is none.
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def state(pid: int) -> str:
    """A letter: R and S run, T is halted, Z has ended; X where there is no such process.

    D waits in the kernel, and is halted before it runs again; who has just forked a program that
    was halted before it began waits so for good.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def gone(pids: Iterable[int]) -> bool:
    return all(state(pid) in "ZX" for pid in pids)


def halt(process: Program) -> None:
    os.killpg(process.pid, signal.SIGSTOP)
    wait_for(lambda: all(state(pid) in "TZXD" for pid in [process.pid, *descendants(process.pid)]))


def go_on(process: Program) -> None:
    os.killpg(process.pid, signal.SIGCONT)


def halt_when(moment: Callable[[], Any], process: Program) -> None:
    """Halt a program and its workers at a moment; none of them moves while the test looks."""

    def there() -> bool:
        if moment():
            halt(process)
            if moment():
                return True
            go_on(process)
        return False

    wait_for(there, process)


def kill_group(process: Program) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_parent(process: Program) -> None:
    """The workers stay, perhaps into the next suite; they must notice by themselves."""
    assert process.stdout
    assert process.stderr
    process.kill()
    go_on(process)
    process.wait()
    process.stdout.close()
    process.stderr.close()


def interrupt(process: Program) -> None:
    """Ctrl-C reaches every process of the terminal."""
    workers = list(descendants(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    go_on(process)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "fedbackdoor: interrupted; the same command goes on from here" in err, err
    assert "Traceback" not in err, err
    wait_for(lambda: gone(workers))


def terminate(process: Program) -> None:
    workers = list(descendants(process.pid))
    process.terminate()
    go_on(process)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err, err
    wait_for(lambda: gone(workers))
