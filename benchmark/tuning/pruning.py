"""Pruners: which trials are given up before they have run all their rounds.

Importing this module imports Optuna.
"""

import copy
from collections.abc import Callable, Container
from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

STARTUP_TRIALS = 5
"""Finished and feasible, before the median says anything."""


class FeasibleMedian(MedianPruner):
    """Gives up what is worse than the median of the feasible trials at the same step.

    An attack that breaks the model plants its backdoor well, and says nothing of those that must
    not be noticed. Optuna's own pruner lets a trial live on the best that it ever reported, and
    a backdoor that was planted early may be gone.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See the pruner."""

        step = trial.last_step
        if step is None:
            return False
        view: Any = copy.copy(study)
        view.get_trials = _feasible(study.get_trials)
        latest = copy.copy(trial)
        latest.intermediate_values = {step: trial.intermediate_values[step]}
        return super().prune(view, latest)


class FeasibleHyperband(HyperbandPruner):
    """Hyperband among trials that are not known to break a constraint, for the same reason."""

    def _create_bracket_study(self, study: Study, bracket_id: int) -> Study:
        bracket: Any = super()._create_bracket_study(study, bracket_id)
        bracket.get_trials = _feasible(bracket.get_trials)
        return bracket


def _feasible(get_trials: Callable[..., list[FrozenTrial]]) -> Callable[..., list[FrozenTrial]]:
    def get(
        deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = get_trials(deepcopy=deepcopy, states=states)
        return [t for t in trials if all(v <= 0 for v in t.constraints.values())]

    return get


def _warm_up(steps: int) -> int:
    # A model that has learned nothing yet tells nothing of the attack.
    return max(steps // 8, 1)


Make = Callable[[int], BasePruner]

MAKERS: dict[str, Make] = {
    "median": lambda steps: FeasibleMedian(STARTUP_TRIALS, n_warmup_steps=_warm_up(steps)),
    "hyperband": lambda steps: FeasibleHyperband(
        min_resource=_warm_up(steps), max_resource=max(steps, 1)
    ),
    "none": lambda steps: NopPruner(),
}
"""From the number of steps of a whole trial."""
