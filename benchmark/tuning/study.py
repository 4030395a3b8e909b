"""A study: trials of a problem until as many are finished as asked, kept in a database.

It can be stopped at any moment, by ``kill -9`` too, and started again; several processes may run
the same study at once. A trial that was stopped is run again with the same parameters, and goes
on from its federations' records and checkpoints. Importing this module imports Optuna.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import TrialPruned
from optuna.trial import FrozenTrial, TrialState

from benchmark.results.trials import Trials
from benchmark.run.runner import StoppedError
from benchmark.run.suite import Watch
from benchmark.tuning import pruning
from benchmark.tuning import trial as stored
from benchmark.tuning import workers as pool
from benchmark.tuning.problem import FinishedTrial, Problem
from benchmark.tuning.sampling import Seeded
from benchmark.tuning.stopped import SURPLUS, StoppedTrials, owner
from benchmark.tuning.storage import Storage, connect, faults, quiet
from benchmark.tuning.trial import DESCRIPTION, KNOWN, OVERRIDES, OWNER, STEPS, difference
from benchmark.tuning.warm_start import points
from benchmark.tuning.workers import POLL_SECONDS, nobody
from benchmark.utils.errors import UserError
from benchmark.utils.urls import shown

REPORTS = 20
"""Of a trial, at most: each is written to the storage."""


class _SurplusError(Exception):
    """Another process has taken the last trial, or this very setting."""


@dataclass
class Study:
    """A study of a problem.

    Attributes:
        url: of its storage.
        name: in it.
        problem: what is searched.
        sampler: one of :data:`SAMPLERS`.
        seed: of the sampler.
        pruner: one of :data:`PRUNERS`; a study of several directions never prunes.
        part_of: what it is a part of: of something else it would be another study.
        warm_start: earlier studies in the same storage, whose best settings are tried first.
        earlier: these settings, once it is open, as
            :func:`benchmark.tuning.warm_start.points` has them.
    """

    url: str
    name: str
    problem: Problem
    sampler: str
    seed: int
    pruner: str = "none"
    part_of: Mapping[str, Any] = field(default_factory=dict)
    warm_start: Sequence[str] = ()
    earlier: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)
    _storage: Storage = field(init=False, repr=False)
    _study: optuna.Study = field(init=False, repr=False)
    _stopped: StoppedTrials = field(init=False, repr=False)

    def open(self) -> dict[str, Any]:
        """Make the study or find it again.

        Returns:
            What makes it this study, as it stands in the storage.

        Raises:
            UserError: the storage cannot be reached, or holds another study under this name,
                which is left as it is; or a study to start from is none, or of another problem.
        """
        wanted = self.describe()
        self._storage = connect(self.url)
        with faults(self.url), quiet():
            self.earlier = points(self._storage, self.url, self.warm_start, self.problem)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=self.name,
                directions=self.problem.directions,
                sampler=Seeded(self.sampler, self.seed, self.problem.space),
                pruner=pruning.MAKERS[self.pruner](self.problem.steps),
                load_if_exists=True,
            )
            self._stopped = StoppedTrials(self._study, self._storage)
            # In this order: another process that makes it now describes it before its trials.
            untouched = not self._study.get_trials(deepcopy=False)
            found = self._study.user_attrs.get(DESCRIPTION)
            if found is None and untouched:
                self._study.set_user_attr(DESCRIPTION, found := wanted)
            if found != wanted:
                raise UserError(
                    f"study {self.name} in {shown(self.url)} is another: "
                    f"{difference(found, wanted)}; choose another --name"
                )
            for known, point in (self.problem.known() | self.earlier).items():
                self._study.enqueue_trial(point, {KNOWN: known}, skip_if_exists=True)
        return wanted

    def describe(self) -> dict[str, Any]:
        """What makes it this study, as plain values."""
        own = {"sampler": self.sampler, "sampler_seed": self.seed, "pruner": self.pruner}
        whole = self.problem.describe() | own | dict(self.part_of)
        described: dict[str, Any] = json.loads(json.dumps(whole))
        return described

    def run(
        self,
        trials: int,
        tell: Callable[[FinishedTrial], None],
        until: float = math.inf,
        workers: int = 1,
        watch: Watch = nobody,
    ) -> list[FinishedTrial]:
        """Go on until ``trials`` are finished in total, by whatever process.

        Args:
            trials: of this study, those of earlier runs and pruned ones included.
            tell: told of every trial that this process, or a worker, finishes or prunes.
            until: seconds since the epoch, after which no trial begins.
            workers: processes that run trials; with one, this process does.
            watch: told of the federations of workers.

        Returns:
            All that are complete, by number.

        Raises:
            UserError: the storage fails; what is finished stays.
        """
        if workers > 1:
            # What holds connections, and who watches, stays here.
            copy = replace(self, problem=self.problem.telling(nobody), warm_start=())
            job = partial(_go_on, copy, trials, until)
            pool.run(job, workers, trials, self.finished, tell, watch)
            return self.tried()
        with faults(self.url), quiet():
            while (finished := len(self.finished())) < trials and time.time() < until:
                self._stopped.take_up()
                running = self._in(TrialState.RUNNING)
                if finished + len(running) < trials:
                    self._one(trials, tell)
                else:
                    # Others run the last ones, or have died and will be found out.
                    self._stopped.start_clocks(running)
                    time.sleep(POLL_SECONDS)
        return self.tried()

    def trials(self) -> Trials:
        """All trials that are over, in whatever state."""
        with faults(self.url):
            return Trials(self.name, self.describe(), stored.of(self._study))

    @property
    def kept(self) -> optuna.Study:
        """As Optuna has it, once it is open."""
        return self._study

    def tried(self) -> list[FinishedTrial]:
        """The complete trials, by number."""
        return stored.complete(self.finished())

    def finished(self) -> list[FinishedTrial]:
        """The complete trials and the pruned ones, by number.

        Raises:
            UserError: the storage fails.
        """
        with faults(self.url):
            return stored.finished(self._study)

    def _in(self, *states: Any) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _one(self, trials: int, tell: Callable[[FinishedTrial], None]) -> None:
        """One trial; whatever stops it, its parameters are tried again."""

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            trial.set_user_attr(OWNER, owner())
            if self._stopped.is_surplus(trial, trials):
                trial.set_user_attr(SURPLUS, True)
                raise _SurplusError
            try:
                return self._evaluate(trial)
            except StoppedError as stop:
                raise TrialPruned from stop

        def finished(study: optuna.Study, trial: FrozenTrial) -> None:
            if OVERRIDES in trial.user_attrs and trial.values is not None:
                tell(stored.tried(trial))

        try:
            self._study.optimize(objective, 1, catch=(_SurplusError,), callbacks=[finished])
        except ValueError as error:
            # Another process took it for dead and tries again.
            if "Cannot tell a" not in str(error):
                raise

    def _evaluate(self, trial: optuna.Trial) -> tuple[float, ...]:
        chosen = self.problem.space.suggest(trial)
        trial.set_user_attr(OVERRIDES, chosen)
        prunes = self.pruner != "none" and len(self.problem.directions) == 1
        every = max(self.problem.steps // REPORTS, 1)
        taken = 0

        def report(step: int, value: float) -> None:
            nonlocal taken
            taken = step + 1
            if prunes and step % every == 0:
                trial.report(value, step)
                # Known settings are what others are held against.
                if KNOWN not in trial.user_attrs and trial.should_prune():
                    trial.set_user_attr(STEPS, taken)
                    raise StoppedError("pruned")

        outcome = self.problem.evaluate(chosen, report)
        trial.set_user_attr(STEPS, taken)
        for name, amount in outcome.constraints.items():
            if name not in trial.constraints:
                trial.set_constraint(name, amount)
        for name, fact in outcome.facts.items():
            trial.set_user_attr(name, fact)
        return outcome.values


def _go_on(study: Study, trials: int, until: float, watch: Watch) -> None:
    """In a worker."""
    study = replace(study, problem=study.problem.telling(watch))
    study.open()
    study.run(trials, nobody, until)
