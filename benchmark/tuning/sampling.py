"""Samplers whose draws depend on a seed and the trial's number, not on what the process did before.

A worker that was killed or that joins late draws neither what another drew nor the same again.
Importing this module imports Optuna.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from benchmark.config.search_space import Space
from benchmark.tuning.trial import OVERRIDES
from benchmark.utils.randomness import derive

TRIED = (TrialState.COMPLETE, TrialState.PRUNED)
ATTEMPTS = 20
"""To draw what was not tried; where a space is nearly used up, a repeated trial costs nothing."""

Make = Callable[[int], BaseSampler]

MAKERS: dict[str, Make] = {
    # Families have parameters of their own: groups model each family's jointly. Trials that still
    # run count as bad, so that several workers do not all try the same.
    "tpe": lambda seed: TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


class Seeded(BaseSampler):
    """Another sampler, made anew for each trial from ``(seed, number)``, that repeats nothing.

    What was tried is known: federations are deterministic. Where the sampler proposes it again, as
    it will among few choices, the trial is drawn at random until it is new.

    Args:
        name: ``tpe``, the tree-structured Parzen estimator, multivariate over the parameters of
            each family, or ``random``.
        seed: of all draws.
        space: what is searched.
    """

    def __init__(self, name: str, seed: int, space: Space):
        self._make, self._seed, self._space = MAKERS[name], seed, space
        self._inner = self._make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start this trial's own stream."""
        self._inner = self._make(derive(self._seed, trial.number, "trial") % 2**32)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters that any trial had."""
        return {
            name: distribution
            for other in study.get_trials(deepcopy=False, states=TRIED)
            for name, distribution in other.distributions.items()
            if not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The sampler's proposal where that is new, else a random one."""
        own = self._inner.infer_relative_search_space(study, trial)
        drawn = self._inner.sample_relative(study, trial, own)
        tried = [
            other.user_attrs.get(OVERRIDES)
            for other in study.get_trials(deepcopy=False, states=(*TRIED, TrialState.RUNNING))
            if other.number != trial.number
        ]
        random = RandomSampler(seed=derive(self._seed, trial.number, "another") % 2**32)
        for _ in range(ATTEMPTS):
            if drawn and self._point(drawn) not in tried:
                break
            drawn = {
                name: random.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        return drawn

    def _point(self, drawn: Mapping[str, Any]) -> list[str] | None:
        """The overrides that these parameters make; None where one is missing."""
        try:
            return self._space.suggest(_Drawn(dict(drawn)))
        except ValueError:
            return None

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


class _Drawn(FixedTrial):
    """What was drawn, as a trial that suggests it; of one choice none is drawn."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[0] if len(choices) == 1 else super().suggest_categorical(name, choices)
