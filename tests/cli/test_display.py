"""What a person sees of running cells, on a terminal and elsewhere."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.cli.display import Display
from benchmark.config.compose import compose
from benchmark.run.cell import Cell
from benchmark.run.events import Failed, Finished, Round, Started
from tests.support import synthetic

RECORD = synthetic.record("boosted", "mean")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("benchmark.cli.display.time.monotonic", clock)
    return clock


def cells(count: int, rounds: int = 10) -> list[Cell]:
    overrides = ["attack=boosted", f"federation.rounds={rounds}"]
    return [
        Cell((), compose([*overrides, f"seed={seed}"]), Path("data"), "0" * 64)
        for seed in range(count)
    ]


def test_it_is_shown_where_a_cell_runs_and_where_it_goes_on() -> None:
    (cell,), screen = cells(1), Screen(True)
    with Display([cell], console=screen.console) as display:
        display(Started(cell, "node-1"))
        assert f"{cell.id} on node-1" in screen.now(display)
        display(Started(cell, "node-2", again=True))
        assert f"{cell.id} on node-2 goes on: its worker was lost" in screen.text()
        now = screen.now(display)
        assert f"{cell.id} on node-2" in now
        assert "node-1" not in now


class Screen:
    """A terminal, or a file, and what stands on it."""

    def __init__(self, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=120)

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.file.getvalue())

    def now(self, display: Display) -> str:
        """What the bars show at this moment."""
        self.file.truncate(0)
        self.file.seek(0)
        display.progress.refresh()
        return self.text()


def test_bars_show_cells_rounds_rate_and_time_left(clock: Clock) -> None:
    screen, (first, second) = Screen(terminal=True), cells(2)
    with Display([first, second], already=3, console=screen.console) as display:
        assert "3/5" in screen.now(display)
        display(Started(first))
        display(Started(second))
        clock.now += 2
        for round in range(4):
            display(Round(first, round, {"main_accuracy": 0.5, "backdoor_in_sample": 0.25}))
        shown = screen.now(display)
        assert "3/5" in shown
        assert "2 running · 0 failed · 2.0 rounds/s · 0:08 left" in shown
        assert first.id in shown
        assert "4/10" in shown
        assert "main 0.500  backdoor 0.250" in shown
        assert "0/10" in shown

        display(Finished(first, RECORD))
        shown = screen.now(display)
        assert "4/5" in shown
        assert first.id not in shown
        assert "1 running · 0 failed" in shown

        display(Failed(second, "it [diverged]", "details"))
        shown = screen.now(display)
        assert "5/5" in shown
        assert "0 running · 1 failed" in shown
        assert "0:00 left" in shown


def test_finished_and_failed_cells_stay_on_the_terminal(clock: Clock) -> None:
    screen, (first, second) = Screen(terminal=True), cells(2)
    with Display([first, second], console=screen.console) as display:
        for cell in (first, second):
            display(Started(cell))
        display(Finished(first, RECORD))
        display(Failed(second, "it [diverged]", "details"))
    text = screen.text()
    assert f"[1/2] {first.id}  main 0.920  backdoor 0.010  held-out 0.010  2.4 s" in text
    assert f"[2/2] {second.id}  FAILED: it [diverged]" in text
    assert "details" not in text


def test_without_a_terminal_there_are_plain_lines_one_for_each_cell(clock: Clock) -> None:
    screen, (first, second) = Screen(terminal=False), cells(2)
    with Display([first, second], already=1, console=screen.console) as display:
        display(Started(first))
        for round in range(10):
            clock.now += 1
            display(Round(first, round, {"main_accuracy": 0.5}))
        display(Finished(first, RECORD))
        display(Started(second))
        display(Failed(second, "out of luck " * 20, ""))
    assert "\x1b" not in screen.file.getvalue()
    lines = screen.file.getvalue().splitlines()
    assert lines[0].startswith(f"[2/3] {first.id}  main 0.920")
    assert lines[0].endswith("(0:10 left)")
    assert lines[1].startswith(f"[3/3] {second.id}  FAILED: out of luck")
    assert len(lines) == 2


def test_rounds_that_a_resumed_cell_had_done_before_are_no_speed(clock: Clock) -> None:
    screen, (cell, other) = Screen(terminal=True), cells(2, rounds=100)
    with Display([cell, other], console=screen.console) as display:
        display(Started(cell))
        clock.now += 1
        display(Round(cell, 90, {}))
        shown = screen.now(display)
        # One round a second, and 9 + 100 to go.
        assert "1.0 rounds/s · 1:49 left" in shown
        assert "91/100" in shown
        clock.now += 1
        display(Round(cell, 91, {}))
        assert "1.0 rounds/s · 1:48 left" in screen.now(display)


def test_a_resumed_cell_says_so_and_a_single_one_tells_its_evaluated_rounds(clock: Clock) -> None:
    screen, (cell,) = Screen(terminal=False), cells(1)
    with Display([cell], console=screen.console) as display:
        display(Started(cell))
        display(Round(cell, 6, {"backdoor_in_sample": 0.1}))
        display(Round(cell, 7, {"backdoor_in_sample": 0.1}))
        display(Round(cell, 8, {"backdoor_in_sample": 0.1, "main_accuracy": 0.7}))
    assert screen.text().splitlines() == [
        f"{cell.id} goes on at round 6",
        "round 8  main 0.700  backdoor 0.100",
    ]


def test_what_a_failed_cell_leaves_undone_is_not_waited_for(clock: Clock) -> None:
    screen, (cell, other) = Screen(terminal=True), cells(2, rounds=10)
    with Display([cell, other], console=screen.console) as display:
        assert "0/2 starting workers" in screen.now(display)
        display(Started(cell))
        clock.now += 1
        display(Round(cell, 0, {}))
        display(Failed(cell, "why", ""))
        assert "1.0 rounds/s · 0:10 left" in screen.now(display)
