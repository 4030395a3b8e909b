"""What a person sees of running cells: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped


class Display:
    """Shows the events of a run or a suite on stderr.

    Args:
        cells: those that will run.
        already: how many of the suite were done before.
        console: where to; bars if it is a terminal, a line for each finished cell otherwise.
    """

    def __init__(self, cells: Sequence[Cell], already: int = 0, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self.total, self.already = len(cells) + already, already
        self.finished = self.failed = 0
        self.rounds_done = 0.0
        self.rounds_left: float = sum(cell.rounds for cell in cells)
        self.running: dict[str, TaskID] = {}
        self.started = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.overall = self.progress.add_task("[bold]cells", total=self.total, note="")

    def __enter__(self) -> "Display":
        self.progress.start()
        self._refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        key = event.cell.id
        if isinstance(event, Started):
            where = event.place and f" on {event.place}"
            if event.again:
                self._print(f"{key}{where} goes on: its worker was lost")
                self.progress.update(self.running[key], description=f"  {key}{where}")
            else:
                new = self.progress.add_task(f"  {key}{where}", total=event.cell.rounds, note="")
                self.running[key] = new
        elif isinstance(event, Round):
            before = self.progress.tasks[self.progress.task_ids.index(self.running[key])].completed
            if event.round > before:
                self._print(f"{key} goes on at round {event.round}")
            elif self.total == 1 and "main_accuracy" in event.metrics:
                self._print(f"round {event.round}  {_brief(event.metrics)}")
            # A resumed cell starts in the middle: its earlier rounds cost nothing now.
            step = min(event.round + 1 - before, 1)
            self.rounds_done += step
            self.rounds_left -= event.round + 1 - before
            self.progress.update(
                self.running[key], completed=event.round + 1, note=_brief(event.metrics)
            )
        else:
            task = self.running.pop(key)
            done = self.progress.tasks[self.progress.task_ids.index(task)].completed
            self.rounds_left -= event.cell.rounds - done
            self.progress.remove_task(task)
            self.finished += isinstance(event, Finished)
            self.failed += isinstance(event, Failed)
            self._report(event)
        self._refresh()

    def _report(self, event: Finished | Failed | Stopped) -> None:
        count = f"[{self.already + self.finished + self.failed}/{self.total}]"
        if isinstance(event, Finished):
            final = {name: s.final for name, s in event.record.summary.items()}
            end = event.record.diverged
            said = f"diverged in {end.reason}" if end else _brief(final)
            line = f"{count} {event.cell.id}  {said}  {event.record.cost.seconds:.1f} s"
        else:
            how = "FAILED" if isinstance(event, Failed) else "stopped"
            line = f"{count} {event.cell.id}  {how}: {event.reason}"
        if not self.console.is_terminal:
            line += f"  ({self._left()} left)"
        self._print(line, style="red" if isinstance(event, Failed) else None)

    def _print(self, line: str, style: str | None = None) -> None:
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        elapsed = time.monotonic() - self.started
        if self.rounds_done == 0:
            return "?" if self.rounds_left else "0:00"
        seconds = int(self.rounds_left * elapsed / self.rounds_done)
        return f"{seconds // 60}:{seconds % 60:02}"

    def _refresh(self) -> None:
        rate = self.rounds_done / max(time.monotonic() - self.started, 1e-9)
        begun = self.running or self.finished or self.failed
        note = (
            "starting workers"
            if not begun
            else (
                f"{len(self.running)} running · {self.failed} failed · "
                f"{rate:.1f} rounds/s · {self._left()} left"
            )
        )
        done = self.already + self.finished + self.failed
        self.progress.update(self.overall, completed=done, note=note)


def _brief(metrics: dict[str, float] | dict[str, float | None]) -> str:
    parts = []
    for label, name in (
        ("main", "main_accuracy"),
        ("backdoor", "backdoor_in_sample"),
        ("held-out", "backdoor_held_out"),
    ):
        value = metrics.get(name)
        if value is not None:
            parts.append(f"{label} {value:.3f}")
    return "  ".join(parts)
