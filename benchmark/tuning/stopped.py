"""Trials that were stopped: how they are known, and who tries them again.

All of it is seen from what is stored, so that a kill at any moment loses nothing. Importing this
module imports Optuna.
"""

import math
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from benchmark.tuning import storage as storages
from benchmark.tuning.trial import KNOWN, OWNER

SURPLUS = "surplus"
"""User attribute of a trial: somebody else had the last one, or this very setting, already."""


@dataclass
class StoppedTrials:
    """The stopped trials of a study.

    Attributes:
        study, storage: where they are.
    """

    study: optuna.Study
    storage: storages.Storage
    _waited: dict[int, float] = field(init=False, repr=False, default_factory=dict)

    def take_up(self) -> None:
        """Have every stopped trial tried again with its parameters, by whoever comes."""
        self._give_up_the_dead()
        optuna.storages.fail_stale_trials(self.study)
        trials = self.study.get_trials(deepcopy=False)
        taken_up = {before(trial) for trial in trials}
        for trial in trials:
            stopped = trial.state == TrialState.FAIL and SURPLUS not in trial.user_attrs
            if stopped and trial.number not in taken_up:
                storages.Again()(self.study, trial)

    def _give_up_the_dead(self) -> None:
        """End the trials of processes of this machine that have ended."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if OWNER in trial.user_attrs and is_dead(trial.user_attrs[OWNER]):
                with suppress(UpdateFinishedTrialError):
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def start_clocks(self, running: Sequence[FrozenTrial]) -> None:
        """Optuna never gives up a trial whose process died before its first heartbeat."""
        for trial in running:
            since = self._waited.setdefault(trial.number, time.monotonic())
            if time.monotonic() - since > 2 * storages.GRACE_SECONDS:
                self.storage.record_heartbeat(trial._trial_id)
                self._waited[trial.number] = math.inf

    def is_surplus(self, trial: optuna.Trial, trials: int) -> bool:
        """Whether there are ``trials`` without this one, or another is the same."""
        now = self.study.get_trials(deepcopy=False)
        earlier = [t for t in now[: trial.number] if SURPLUS not in t.user_attrs]
        alive = [t for t in earlier if t.state != TrialState.FAIL]
        # Two processes that made the study together both put the known settings in; two that
        # found a stopped trial both put it in line, and the first of these may be stopped again.
        known, stopped = trial.user_attrs.get(KNOWN), before(now[trial.number])
        return (
            len(alive) >= trials
            or (known is not None and known in [t.user_attrs.get(KNOWN) for t in alive])
            or (stopped is not None and stopped in map(before, earlier))
        )


def before(trial: FrozenTrial) -> int | None:
    """The number of the stopped trial that this one repeats."""
    history = trial.system_attrs.get("retry_history")
    return history[-1] if history else None


def owner() -> str:
    """This process, on this machine or in this container: ``machine pid start``."""
    return f"{_machine()} {os.getpid()} {_start(os.getpid())}"


def is_dead(named: str) -> bool:
    """Whether a process of this machine has ended; False where that cannot be known."""
    machine, _, rest = named.partition(" ")
    pid, _, start = rest.partition(" ")
    return machine == _machine() and start != "None" and str(_start(int(pid))) != start


def _machine() -> str:
    try:
        # Machines of one image share a name, and containers share a machine.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = ""
    return socket.gethostname().replace(" ", "") + boot


def _start(pid: int) -> int | None:
    """When it was started, in ticks; None where there is none, or that cannot be known."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(values[18])
