"""A study: trials of a problem until as many are finished as asked, kept in a database.

It can be stopped at any moment, by ``kill -9`` too, and started again; several processes may run
the same study at once. A trial that was stopped is run again with the same parameters, and goes
on from its federations' records and checkpoints. Importing this module imports no Optuna.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.tracking.uri import shown
from benchmark.tuning.federations import untold
from benchmark.tuning.problem import Outcome, Problem, Tried

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from benchmark.tuning.trials import Trials

SAMPLERS = ("tpe", "random")
POLL_SECONDS = 1.0
DESCRIPTION, OVERRIDES, KNOWN = "description", "overrides", "known"
"""User attributes: of the study; of a trial, what it ran and which known setting it was."""


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
    """

    url: str
    name: str
    problem: Problem
    sampler: str
    seed: int
    _storage: "RDBStorage" = field(init=False, repr=False)
    _study: "optuna.Study" = field(init=False, repr=False)
    _waited: dict[int, float] = field(init=False, repr=False, default_factory=dict)

    def open(self) -> dict[str, Any]:
        """Make the study or find it again.

        Returns:
            What makes it this study, as it stands in the storage.

        Raises:
            UserError: the storage cannot be reached, or holds another study under this name,
                which is left as it is.
        """
        import optuna

        from benchmark.tuning.sampling import Seeded
        from benchmark.tuning.storage import connect, faults, quiet

        wanted = self.describe()
        self._storage = connect(self.url)
        with faults(self.url), quiet():
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=self.name,
                directions=self.problem.directions,
                sampler=Seeded(self.sampler, self.seed),
                load_if_exists=True,
            )
            # In this order: another process that makes it now describes it before its trials.
            untouched = not self._study.get_trials(deepcopy=False)
            found = self._study.user_attrs.get(DESCRIPTION)
            if found is None and untouched:
                self._study.set_user_attr(DESCRIPTION, found := wanted)
            if found != wanted:
                raise UserError(
                    f"study {self.name} in {shown(self.url)} is another: "
                    f"{_difference(found, wanted)}; choose another --name"
                )
            for known, point in self.problem.known().items():
                self._study.enqueue_trial(point, {KNOWN: known}, skip_if_exists=True)
        return wanted

    def describe(self) -> dict[str, Any]:
        """What makes it this study, as plain values."""
        own = {"sampler": self.sampler, "sampler_seed": self.seed}
        described: dict[str, Any] = json.loads(json.dumps(self.problem.describe() | own))
        return described

    def run(self, trials: int, tell: Callable[[Tried], None]) -> list[Tried]:
        """Go on until ``trials`` are finished in total, by whatever process.

        Args:
            trials: of this study, those of earlier runs included.
            tell: told of every trial that this process finishes.

        Returns:
            All that are finished, by number.

        Raises:
            UserError: the storage fails; what is finished stays.
        """
        import optuna

        from benchmark.tuning.storage import faults, quiet

        with faults(self.url), quiet():
            while len(finished := self.tried()) < trials:
                optuna.storages.fail_stale_trials(self._study)
                running = self._in(optuna.trial.TrialState.RUNNING)
                if len(finished) + len(running) < trials:
                    self._one(trials, tell)
                else:
                    # Others run the last ones, or have died and will be found out.
                    self._start_clocks(running)
                    time.sleep(POLL_SECONDS)
        return finished

    def trials(self) -> "Trials":
        """All trials that are over, in whatever state."""
        from benchmark.tuning.storage import faults
        from benchmark.tuning.trials import Trials, of

        with faults(self.url):
            return Trials(self.name, self.describe(), of(self._study))

    def draw(self, folder: Path) -> None:
        """Write pictures of the trials."""
        from benchmark.tuning import figures

        figures.write(self._study, folder)

    def tried(self) -> list[Tried]:
        """The finished trials, by number."""
        from optuna.trial import TrialState

        return [_tried(trial) for trial in self._in(TrialState.COMPLETE)]

    def _in(self, *states: Any) -> "list[FrozenTrial]":
        return self._study.get_trials(deepcopy=False, states=states)

    def _start_clocks(self, running: "Sequence[FrozenTrial]") -> None:
        """Optuna never gives up a trial whose process died before its first heartbeat."""
        from benchmark.tuning.storage import GRACE_SECONDS

        for trial in running:
            since = self._waited.setdefault(trial.number, time.monotonic())
            if time.monotonic() - since > 2 * GRACE_SECONDS:
                self._storage.record_heartbeat(trial._trial_id)
                self._waited[trial.number] = math.inf

    def _one(self, trials: int, tell: Callable[[Tried], None]) -> None:
        """One trial; whatever stops it, its parameters are tried again."""
        from optuna.storages import RetryHeartbeatStaleTrialCallback
        from optuna.trial import TrialState

        stopped: list[int] = []

        def objective(trial: "optuna.Trial") -> tuple[float, ...]:
            if self._is_surplus(trial, trials):
                raise _SurplusError
            try:
                return self._evaluate(trial)
            except BaseException:
                # Where it is failed already, another process took it for dead and tries again.
                if not self._study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                    stopped.append(trial.number)
                raise

        def finished(study: "optuna.Study", trial: "FrozenTrial") -> None:
            if trial.state == TrialState.COMPLETE:
                tell(_tried(trial))

        try:
            self._study.optimize(objective, 1, catch=(_SurplusError,), callbacks=[finished])
        except BaseException as error:
            if stopped:
                again = RetryHeartbeatStaleTrialCallback()
                again(self._study, self._study.trials[stopped[0]])
            elif isinstance(error, ValueError) and "Cannot tell a" in str(error):
                return
            raise

    def _is_surplus(self, trial: "optuna.Trial", trials: int) -> bool:
        from optuna.trial import TrialState

        alive = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        earlier = [t for t in self._in(*alive) if t.number < trial.number]
        known = trial.user_attrs.get(KNOWN)
        # Two processes that made the study together both put the known settings in.
        return len(earlier) >= trials or any(
            known is not None and t.user_attrs.get(KNOWN) == known for t in earlier
        )

    def _evaluate(self, trial: "optuna.Trial") -> tuple[float, ...]:
        chosen = self.problem.space.suggest(trial)
        trial.set_user_attr(OVERRIDES, chosen)
        outcome = self.problem.evaluate(chosen, untold)
        for name, amount in outcome.constraints.items():
            if name not in trial.constraints:
                trial.set_constraint(name, amount)
        for name, fact in outcome.facts.items():
            trial.set_user_attr(name, fact)
        return outcome.values


def _tried(trial: "FrozenTrial") -> Tried:
    facts = {k: v for k, v in trial.user_attrs.items() if k not in (OVERRIDES, KNOWN)}
    outcome = Outcome(tuple(trial.values), dict(trial.constraints), facts)
    overrides = tuple(trial.user_attrs[OVERRIDES])
    return Tried(trial.number, overrides, outcome, trial.user_attrs.get(KNOWN))


def _difference(found: Any, wanted: Any) -> str:
    """The first value that two descriptions have not in common."""
    if not isinstance(found, dict):
        return "it was not made by this program"
    there, here = dict(_flat(found)), dict(_flat(wanted))
    key = next(k for k in [*here, *there] if there.get(k, _flat) != here.get(k, _flat))
    return f"{key} is {there.get(key, 'nothing')} there and {here.get(key, 'nothing')} here"


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item
