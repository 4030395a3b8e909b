"""Which trials of a study somebody runs, and which were stopped: who tries these again.

All of it is seen from what is stored, so that a kill at any moment loses nothing. Importing this
module imports Optuna.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from benchmark.tuning.trial import AGAIN, KNOWN, SURPLUS

HEARTBEAT = "heartbeat"
"""System attribute of a running trial, which changes as long as somebody runs it."""
HEARTBEAT_SECONDS = 5.0
GRACE_SECONDS = 30.0
"""Without a heartbeat, after which a trial is run again; one that was alive after all is told
that it was given up, and its result is not counted."""


@dataclass
class Presence:
    """What a process knows of the trials that run, of its own and of those of others.

    Optuna's own heartbeats are for databases alone, and compare the clocks of two machines.

    Attributes:
        study: whose trials they are.
        now: what the time is, in seconds.
    """

    study: optuna.Study
    now: Callable[[], float] = time.monotonic
    _seen: dict[int, tuple[object, float]] = field(init=False, default_factory=dict)

    @contextmanager
    def beating(self, trials: Callable[[], Iterable[int]]) -> Iterator[None]:
        """Meanwhile, say time and again that these trials are run: their ids."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(HEARTBEAT_SECONDS):
                for trial in trials():
                    # Others have given it up, or an outage: the next one comes soon.
                    with suppress(UpdateFinishedTrialError, StorageInternalError, SQLAlchemyError):
                        self.beat(trial)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def beat(self, trial: int) -> None:
        """Say that a trial is run: its id."""
        self.study._storage.set_trial_system_attr(trial, HEARTBEAT, time.time())

    def take_up(self, own: Iterable[int]) -> None:
        """Have every stopped trial tried again with its parameters, by whoever comes.

        Args:
            own: numbers of the trials that this process runs.
        """
        for trial in self._in(TrialState.RUNNING):
            if trial.number not in own and self._is_stale(trial):
                with suppress(UpdateFinishedTrialError):
                    self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        trials = self._in()
        taken_up = {trial.user_attrs.get(AGAIN) for trial in trials}
        for trial in trials:
            stopped = trial.state == TrialState.FAIL and SURPLUS not in trial.user_attrs
            if stopped and trial.number not in taken_up:
                given = trial.system_attrs.get("fixed_params", {}) | trial.params
                kept = {k: v for k, v in trial.user_attrs.items() if k == KNOWN}
                self.study.enqueue_trial(given, kept | {AGAIN: trial.number})

    def _is_stale(self, trial: FrozenTrial) -> bool:
        """Whether its heartbeat has not changed for a while by the clock of who looks."""
        beat, now = trial.system_attrs.get(HEARTBEAT), self.now()
        if self._seen.get(trial.number, (None, now))[0] != beat or trial.number not in self._seen:
            self._seen[trial.number] = (beat, now)
        return now - self._seen[trial.number][1] > GRACE_SECONDS

    def is_surplus(self, number: int, trials: int) -> bool:
        """Whether there are ``trials`` without this one, or another is the same."""
        now = self._in()
        earlier = [t for t in now[:number] if SURPLUS not in t.user_attrs]
        alive = [t for t in earlier if t.state != TrialState.FAIL]
        # Two processes that made the study together both put the known settings in; two that
        # found a stopped trial both put it in line, and the first of these may be stopped again.
        known, stopped = (now[number].user_attrs.get(name) for name in (KNOWN, AGAIN))
        return (
            len(alive) >= trials
            or (known is not None and known in [t.user_attrs.get(KNOWN) for t in alive])
            or (stopped is not None and stopped in [t.user_attrs.get(AGAIN) for t in earlier])
        )

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)
