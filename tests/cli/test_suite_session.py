"""A suite's own run in MLflow, whenever the command is killed."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.cli import suite_session
from benchmark.cli.suite_session import run_cells
from benchmark.run.executors.local import LocalExecutor
from benchmark.run.record import Record
from benchmark.run.suite import Suite
from benchmark.tracking import NoTracker
from tests.support import synthetic
from tests.support.running import tiny

SUITE = Suite("smoke", "toy", [], {}, [0])


class KilledError(BaseException):
    """Nothing of the command comes after it."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str] | None], list[str]]:
    """Run a suite of one recorded cell; what its tracker was told.

    Its end is a list of notes, or None for a kill that comes before.
    """
    cell = tiny()
    record = replace(synthetic.record("none", "mean"), cell=cell.id)
    record.write(cell.record_path(tmp_path / "smoke"))

    def of(end: list[str] | None) -> list[str]:
        told = list[str]()

        class Told(NoTracker):
            def open_suite(self, *given: object) -> None:
                told.append("opened")

            def finish(self, path: Path, partition: Path | None = None) -> None:
                Record.read(path).with_run("a run").write(path)

            def close(self) -> list[str]:
                if end is None:
                    raise KilledError
                told.append("closed")
                return end

        monkeypatch.setattr(suite_session, "make", lambda *given: Told())
        try:
            at, console = LocalExecutor(1), Console(file=io.StringIO())
            assert run_cells(SUITE, [cell], tmp_path / "smoke", at, console) == 0
        except KilledError:
            assert end is None
        return told

    return of


def test_a_kill_before_the_suite_s_run_is_closed_leaves_that_to_the_next_one(run) -> None:
    assert run(None) == ["opened"]
    # By now the cell has its record and its run: only the suite's own is open.
    assert run(None) == ["opened"]
    assert run(["MLflow is down"]) == ["opened", "closed"]
    assert run([]) == ["opened", "closed"]
    assert run([]) == []
