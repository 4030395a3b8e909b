"""The trials of a study: asked of Optuna, run by an executor, told to Optuna.

Importing this module imports Optuna.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from benchmark.run.cell import Cell
from benchmark.run.curve import Curve
from benchmark.run.events import Event, Finished, Round, Stopped
from benchmark.run.record import Record
from benchmark.tuning import trial as stored
from benchmark.tuning.federated_problem import FederatedProblem
from benchmark.tuning.presence import Presence
from benchmark.tuning.problem import FinishedTrial, Metrics
from benchmark.tuning.trial import KNOWN, OVERRIDES, REFUSAL, STEPS, SURPLUS
from benchmark.tuning.workplace import Workplace

POLL_SECONDS = 1.0
REPORTS = 20
"""Of a trial, at most: each is written to the storage."""


@dataclass
class _Running:
    """A trial: its federations run one after another, and what was measured round by round."""

    trial: optuna.Trial
    overrides: list[str] = field(default_factory=list)
    left: list[Cell] = field(default_factory=list)
    rounds: list[list[Metrics]] = field(default_factory=lambda: [[]])
    steps: int = 0
    is_pruned: bool = False


@dataclass
class AskAndTell:
    """Goes on with a study until enough trials are finished, by whatever process.

    Each worker of the executor has a trial of its own. A trial that was stopped, whatever stopped
    it, is tried again with the same parameters.

    Attributes:
        study: whose trials they are.
        problem: what is searched.
        at: where the federations run.
        presence: of the study's trials.
        trials: in total.
        tell: told of every trial that is finished or pruned here.
        until: seconds since the epoch, after which no trial begins.
        prunes: whether a trial may be given up.
    """

    study: optuna.Study
    problem: FederatedProblem
    at: Workplace
    presence: Presence
    trials: int
    tell: Callable[[FinishedTrial], None]
    until: float
    prunes: bool
    _running: list[_Running] = field(init=False, default_factory=list)
    _cells: list[Cell] = field(init=False, default_factory=list)
    _look: float = field(init=False, default=0.0)

    def run(self) -> None:
        """Do it.

        Raises:
            UserError: a federation fails.
        """
        ids = lambda: [running.trial._trial_id for running in list(self._running)]  # noqa: E731
        try:
            with self.presence.beating(ids):
                while self._goes_on():
                    self._cells.clear()
                    self._ask()
                    for event in self.at.run(self._cells):
                        self._take(event)
                        self._ask()
                    if not self._cells and self._goes_on():
                        # Others run the last ones, or have died and will be found out.
                        time.sleep(POLL_SECONDS)
        finally:
            for running in self._running:
                with suppress(StorageInternalError, SQLAlchemyError):
                    self.study.tell(running.trial, state=TrialState.FAIL, skip_if_finished=True)

    def _goes_on(self) -> bool:
        return self._count(*stored.FINISHED) < self.trials and time.time() < self.until

    def _count(self, *states: TrialState) -> int:
        return len(self.study.get_trials(deepcopy=False, states=states))

    def _ask(self) -> None:
        """Begin trials while there are workers for them."""
        while len(self._running) < self.at.workers and time.monotonic() >= self._look:
            self.presence.take_up([running.trial.number for running in self._running])
            if (
                self._count(*stored.FINISHED, TrialState.RUNNING) >= self.trials
                or time.time() >= self.until
            ):
                self._look = time.monotonic() + POLL_SECONDS
                return
            self._begin()

    def _begin(self) -> None:
        running = _Running(self.study.ask())
        self._running.append(running)
        with self._given_up(running):
            if self.presence.is_surplus(running.trial.number, self.trials):
                running.trial.set_user_attr(SURPLUS, True)
                self._running.remove(running)
                self.study.tell(running.trial, state=TrialState.FAIL)
                return
            running.overrides = self.problem.space.suggest(running.trial)
            running.trial.set_user_attr(OVERRIDES, running.overrides)
            running.left = self.problem.cells(running.overrides)
            if refusal := self.problem.refusal(running.left):
                running.trial.set_user_attr(REFUSAL, refusal)
                running.is_pruned = True
            self._go_on(running)

    @contextmanager
    def _given_up(self, running: _Running) -> Iterator[None]:
        """Another process took it for dead and tries again."""
        try:
            yield
        except UpdateFinishedTrialError:
            self._drop(running)

    def _drop(self, running: _Running) -> None:
        self._running.remove(running)
        self._look = 0.0

    def _take(self, event: Event) -> None:
        """Take up what happened to the trials that wait for a federation."""
        for running in list(self._running):
            if running.left and running.left[0].id == event.cell.id:
                with self._given_up(running):
                    self._happened(running, event)

    def _happened(self, running: _Running, event: Event) -> None:
        match event:
            case Round():
                self._catch_up(running, event.earlier, event.round)
                # A worker that died may have told of it before.
                if event.round == len(running.rounds[-1]):
                    self._report(running, event.metrics)
                if running.is_pruned:
                    self.at.stop(event.cell)
            case Finished():
                self._next(running, event.record)
                self._go_on(running)
            case Stopped():
                self._go_on(running)

    def _go_on(self, running: _Running) -> None:
        """Have a trial's next federation run; end it if there is none."""
        while running.left and not running.is_pruned:
            cell = running.left[0]
            record = self.at.record(cell)
            if record is None:
                # In a small space two trials may be the same.
                if sum(other.left[:1] == [cell] for other in self._running) == 1:
                    self._cells.append(cell)
                return
            self._next(running, record)
        self._end(running)

    def _next(self, running: _Running, record: Record) -> None:
        self._catch_up(running, record.curves)
        del running.left[0]
        running.rounds.append([])

    def _catch_up(
        self, running: _Running, curves: Mapping[str, Curve], until: int | None = None
    ) -> None:
        """Report the rounds before ``until`` of which nobody has told yet, or all of them."""
        metrics = defaultdict[int, dict[str, float]](dict)
        for name, curve in curves.items():
            for round, value in curve.points().items():
                metrics[round][name] = value
        for round in sorted(metrics):
            if round == len(running.rounds[-1]) and (until is None or round < until):
                self._report(running, metrics[round])

    def _report(self, running: _Running, metrics: Metrics) -> None:
        running.rounds[-1].append(metrics)
        value = None if running.is_pruned else self.problem.so_far(running.rounds)
        if value is None:
            return
        cell, trial = running.left[0], running.trial
        step = (len(running.rounds) - 1) * cell.rounds + len(running.rounds[-1]) - 1
        running.steps = step + 1
        if self.prunes and step % max(self.problem.steps // REPORTS, 1) == 0:
            trial.report(value, step)
            # Known settings are what others are held against.
            running.is_pruned = KNOWN not in trial.user_attrs and trial.should_prune()

    def _end(self, running: _Running) -> None:
        trial, values, state = running.trial, None, TrialState.PRUNED
        trial.set_user_attr(STEPS, running.steps)
        if not running.is_pruned:
            outcome = self.problem.evaluate(running.overrides)
            values, state = outcome.values, TrialState.COMPLETE
            for name, amount in outcome.constraints.items():
                trial.set_constraint(name, amount)
            for name, fact in outcome.facts.items():
                trial.set_user_attr(name, fact)
        frozen = self.study.tell(trial, values, state, skip_if_finished=True)
        self._drop(running)
        if frozen.state in stored.FINISHED:
            self.tell(stored.tried(frozen))
