"""What all kinds of tuning share: where a study is kept, who is told of it, its budget."""

import argparse
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmark.cli.watch import Watch, own_console, say
from benchmark.config.compose import compose
from benchmark.config.instantiate import make
from benchmark.results import trials
from benchmark.results.trials import Trials
from benchmark.tuning.federated_problem import FederatedProblem
from benchmark.tuning.problem import Direction, FinishedTrial
from benchmark.tuning.reevaluation import FRESH_FROM, best, reevaluate
from benchmark.tuning.workplace import Workplace
from benchmark.utils.urls import shown

if TYPE_CHECKING:
    from benchmark.tuning.attack_sections import AttackReport
    from benchmark.tuning.sections import TuningReport
    from benchmark.tuning.study import Study


class Session:
    """A command that tunes.

    Args:
        arguments: its options and overrides.
        name: of its study, or of what its studies belong to.
        overrides: those that its federations have in common.
    """

    def __init__(self, arguments: argparse.Namespace, name: str, overrides: Sequence[str]):
        resolved = compose(overrides)
        self.arguments, self.name, self.overrides = arguments, name, tuple(overrides)
        self.folder = arguments.results / f"tuning-{name}"
        own = f"sqlite:///{arguments.results / 'tuning.db'}"
        self.url = own if arguments.storage is None else arguments.storage
        self.console = own_console()
        # An end from outside is that of Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.tracker = make("tracking", resolved["tracking"])
        watch = Watch(lambda event: None, self.tracker, self.folder)
        self.at = Workplace(self.folder, arguments.executor, watch)
        self.seeds = range(arguments.seeds)
        self.fresh = range(FRESH_FROM, FRESH_FROM + arguments.fresh)
        self.opened: dict[str, Study] = {}
        self.started = time.time()

    def study(
        self,
        name: str,
        problem: FederatedProblem,
        sampler_seed: int | None = None,
        part_of: Mapping[str, Any] | None = None,
    ) -> "Study":
        """A study in this command's storage, not opened yet."""
        # Imported late, as Optuna takes a second: what is refused before needs none of it.
        from benchmark.tuning.study import Study

        seed = self.arguments.sampler_seed if sampler_seed is None else sampler_seed
        sampler, pruner = self.arguments.sampler, self.arguments.pruner
        earlier = self.arguments.warm_start
        return Study(self.url, name, problem, sampler, seed, pruner, part_of or {}, earlier)

    def check(self, *problems: FederatedProblem) -> None:
        """Refuse what would be refused later; in this order, as a problem partitions its data."""
        from benchmark.tuning.storage import check

        check(self.url)
        for problem in problems:
            problem.check()
        self.at.executor.check()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """All is checked: from here on something is written and tracked."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {"overrides": self.arguments.overrides, "trials": self.arguments.trials}
        self.tracker.open_suite(self.folder.name, facts, "study")
        try:
            yield
        finally:
            try:
                self._keep()
                self.tracker.study(self.folder)
            finally:
                # Where the storage is gone too, runs still end.
                say(self.console, self.tracker.close())

    def run(self, study: "Study") -> list[FinishedTrial]:
        """Go on with an opened study until its trials are finished; those that are complete."""
        self.opened[study.name] = study
        count, minutes = self.arguments.trials, self.arguments.minutes
        progress = Progress(self.console, count, study.finished(), study.problem.directions)
        self.tell(f"study {study.name} in {shown(self.url)}: {progress} are finished")
        if study.warm_start:
            names = ", ".join(study.warm_start)
            self.tell(
                f"tried first: {len(study.earlier)} settings of {names} that lie in the space"
            )
        space, known = study.problem.space, study.problem.known()
        for family in sorted(space.families.keys() - known.keys()):
            text = f"{space.group}={family} lies outside of its own search:, so it is no trial"
            say(self.console, [text])
        study.problem.prepare()
        # The time of a race is that of its moves.
        limited = minutes is not None and self.arguments.what != "race"
        until = self.started + 60 * minutes if limited else math.inf
        tried = study.run(count, self.at, progress, until)
        # Not those of progress: of what another command finished it is not told.
        if (finished := len(study.finished())) < count:
            self.tell(f"{minutes:g} minutes are over: {finished} of {count} trials are finished")
        return tried

    def judge(self, study: "Study", report: "type[AttackReport]") -> int:
        """A study's command: its trials, the best of them on fresh seeds, its report; the status.

        Args:
            study: not opened yet.
            report: what is told of it.
        """
        problem = study.problem
        self.check(problem)
        description = study.open()

        def found() -> "AttackReport":
            tried = self.run(study)
            chosen = best(tried, self.arguments.best, problem.directions)
            count, fixed = len(chosen), problem.space.group
            self.tell(f"the best {count} and the fixed {fixed}s on {len(self.fresh)} new seeds")
            again = reevaluate(problem, tried, chosen, self.fresh)
            given = (study.name, shown(self.url), self.overrides, description)
            return report(*given, study.finished(), again)

        return self.report(found)

    def report(self, find: Callable[[], "TuningReport"]) -> int:
        """All is checked: find something, write of it and say so; the exit status."""
        with self.begun():
            report = find()
            paths = self._write(report)
        self.tell(report.verdict())
        print(*paths, *filter(None, [report.command]), sep="\n")
        return 0

    def _write(self, report: "TuningReport") -> list[Path]:
        from benchmark.tuning.figures import draw

        (only, *others), drawn = self.opened.values(), list[Path]()
        if not others:
            drawn = draw(only.kept, self.folder)
        return report.write(self.folder, self._keep(), drawn)

    def _keep(self) -> list[Trials]:
        studies = [study.trials() for study in self.opened.values()]
        trials.write(studies, self.folder)
        return studies

    def tell(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """A line for each trial that anybody finishes meanwhile.

    Args:
        console: where to.
        trials: how many there will be.
        before: those that are finished already.
        directions: what is better; first of backdoor accuracy.
    """

    def __init__(
        self,
        console: Console,
        trials: int,
        before: Sequence[FinishedTrial],
        directions: Sequence[Direction],
    ):
        self.console, self.trials, self.finished = console, trials, len(before)
        self.better = max if directions[0] == "maximize" else min
        self.is_one = len(directions) == 1
        self.best: float | None = None
        self.pruned = 0
        for trial in before:
            self._count(trial)
        self.own, self.started = 0, time.monotonic()

    def __str__(self) -> str:
        pruned = f", {self.pruned} pruned," if self.pruned else ""
        return f"{self.finished} of {self.trials} trials{pruned}"

    def _count(self, trial: FinishedTrial) -> None:
        self.pruned += trial.pruned
        value = trial.outcome.values[0]
        if trial.feasible:
            self.best = value if self.best is None else self.better(value, self.best)

    def __call__(self, trial: FinishedTrial) -> None:
        """Show one."""
        self.finished += 1
        self.own += 1
        self._count(trial)
        seconds = int((time.monotonic() - self.started) / self.own)
        left = seconds * max(self.trials - self.finished, 0)
        chosen = " ".join(word.removeprefix("attack.") for word in trial.overrides)
        chosen = chosen.replace("defense.", "")
        if trial.pruned:
            how = f"pruned after {trial.steps} rounds"
        else:
            how = f"main {trial.outcome.facts['main_accuracy']:.3f}"
            how += "" if trial.feasible else " (too low)"
        best = f"best {'none' if self.best is None else f'{self.best:.3f}'}  " * self.is_one
        self.console.print(
            f"[{self.finished}/{self.trials}] trial {trial.number} {chosen}  "
            f"backdoor {trial.outcome.values[0]:.3f}  {how}  {best}"
            f"({left // 60}:{left % 60:02} left)",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
