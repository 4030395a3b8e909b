"""A study: trials of a problem until as many are finished as asked, kept in a database.

It can be stopped at any moment, by ``kill -9`` too, and started again; several processes may run
the same study at once. A trial that was stopped is run again with the same parameters, and goes
on from its federations' records and checkpoints. Importing this module imports Optuna.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from benchmark.results.trials import Trials
from benchmark.tuning import pruning
from benchmark.tuning import trial as stored
from benchmark.tuning.ask_tell import AskAndTell
from benchmark.tuning.federated_problem import FederatedProblem
from benchmark.tuning.presence import Presence
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.sampling import Seeded
from benchmark.tuning.storage import check, connect, faults, quiet
from benchmark.tuning.trial import DESCRIPTION, KNOWN, difference
from benchmark.tuning.warm_start import points
from benchmark.tuning.workplace import Workplace
from benchmark.utils.errors import UserError, unknown
from benchmark.utils.urls import shown

METRICS = ["backdoor_accuracy", "main_accuracy"]
"""What Optuna's own tools call the values of a trial."""


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
    problem: FederatedProblem
    sampler: str
    seed: int
    pruner: str = "none"
    part_of: Mapping[str, Any] = field(default_factory=dict)
    warm_start: Sequence[str] = ()
    earlier: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)
    _study: optuna.Study = field(init=False, repr=False)

    def open(self) -> dict[str, Any]:
        """Make the study or find it again.

        Returns:
            What makes it this study, as it stands in the storage.

        Raises:
            UserError: the storage cannot be reached, or holds another study under this name,
                which is left as it is; or a study to start from is none, or of another problem.
        """
        wanted, file = self.describe(), check(self.url)
        if self.warm_start and file is not None and not file.exists():
            raise unknown("study", self.warm_start[0], [], f"--warm-start in {shown(self.url)}")
        storage = connect(self.url)
        with faults(self.url), quiet():
            self.earlier = points(storage, self.url, self.warm_start, self.problem)
            self._study = optuna.create_study(
                storage=storage,
                study_name=self.name,
                directions=self.problem.directions,
                sampler=Seeded(self.sampler, self.seed, self.problem.space),
                pruner=pruning.MAKERS[self.pruner](self.problem.steps),
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
                    f"{difference(found, wanted)}; choose another --name"
                )
            if self._study.metric_names is None:
                self._study.set_metric_names(METRICS[: len(self.problem.directions)])
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
        at: Workplace,
        tell: Callable[[FinishedTrial], None],
        until: float = math.inf,
    ) -> list[FinishedTrial]:
        """Go on until ``trials`` are finished in total, by whatever process.

        Args:
            trials: of this study, those of earlier runs and pruned ones included.
            at: where the federations run.
            tell: told of every trial that this process finishes or prunes.
            until: seconds since the epoch, after which no trial begins.

        Returns:
            All that are complete, by number.

        Raises:
            UserError: the storage or a federation fails; what is finished stays.
        """
        prunes = self.pruner != "none" and len(self.problem.directions) == 1
        presence = Presence(self._study)
        with faults(self.url), quiet():
            AskAndTell(self._study, self.problem, at, presence, trials, tell, until, prunes).run()
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
