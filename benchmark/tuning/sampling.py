"""Samplers whose draws depend on a seed and the trial's number, not on what the process did before.

A worker that was killed or that joins late draws neither what another drew nor the same again.
Importing this module imports Optuna.
"""

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from benchmark.randomness import derive

Make = Callable[[int], BaseSampler]

MAKERS: dict[str, Make] = {
    # Families have parameters of their own: groups model each family's jointly. Trials that still
    # run count as bad, so that several workers do not all try the same.
    "tpe": lambda seed: TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


class Seeded(BaseSampler):
    """Another sampler, made anew for each trial from ``(seed, number)``.

    Args:
        name: ``tpe``, the tree-structured Parzen estimator, multivariate over the parameters of
            each family, or ``random``.
        seed: of all draws.
    """

    def __init__(self, name: str, seed: int):
        self._make, self._seed = MAKERS[name], seed
        self._inner = self._make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start this trial's own stream."""
        self._inner = self._make(derive(self._seed, trial.number, "trial") % 2**32)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See the sampler."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See the sampler."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """See the sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """See the sampler."""
        self._inner.after_trial(study, trial, state, values)
