"""A disk that is full: one line, nothing lost, and the same command goes on."""

import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmark.run import runner
from benchmark.run.record import Record
from tests.support.running import TINY, call, environment, files, tiny

CHECKPOINT_BYTES = 20_000
"""More than a record of three rounds, less than a checkpoint."""


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """What a full disk and a used-up quota are to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_says_what_is_full_and_goes_on_when_there_is_room(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = runner.run(tiny(), workplace / "undisturbed")
    with files_end_at(CHECKPOINT_BYTES):
        full = call(capsys, "run", *TINY)
    assert (full.status, full.out) == (1, "")
    last = full.err.splitlines()[-1]
    assert last.startswith("fedbackdoor: results/runs/work/")
    assert last.endswith("with more room the same command goes on from here")
    assert "Traceback" not in full.err
    assert files(workplace / "results") == set()
    again = call(capsys, "run", *TINY)
    assert again.status == 0
    assert Record.read(Path(again.out.strip())).result() == undisturbed.result()


def test_a_partition_is_whole_or_not_there(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(workplace)
    with files_end_at(CHECKPOINT_BYTES):
        full = call(capsys, "partition", "partition=iid", "--out", "here")
    assert full.status == 1
    assert full.err.startswith("fedbackdoor: here: ")
    assert full.err.count("\n") == 1
    assert files(workplace) == before


def test_a_suite_stops_at_the_first_cell_that_finds_no_room(workplace: Path) -> None:
    # In a process of its own: the server that workers are forked from keeps its limits.
    suite = [sys.executable, "-m", "benchmark", "suite", "smoke", *TINY, "--workers", "1"]
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f {CHECKPOINT_BYTES // 1024}; exec {shlex.join(suite)}"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].endswith("the same command goes on from here")
    assert full.stderr.count("FAILED") == 1
    assert "Traceback" not in full.stderr
    assert not list(workplace.rglob("failures"))
