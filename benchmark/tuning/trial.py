"""How a study and its trials are kept: names of attributes, and a stored trial read back.

Importing this module imports no Optuna.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.results.trials import Trial
from benchmark.tuning.owners import OWNER
from benchmark.tuning.problem import Outcome, Tried

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

DESCRIPTION = "description"
"""User attribute of a study: all that makes it this one."""
OVERRIDES, KNOWN, STEPS = "overrides", "known", "steps"
"""User attributes of a trial: what it ran, which known setting it was, how many steps it took."""


def finished(study: "optuna.Study") -> list[Tried]:
    """The complete trials and the pruned ones, by number."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [tried(trial) for trial in study.get_trials(deepcopy=False, states=states)]


def complete(trials: Sequence[Tried]) -> list[Tried]:
    """Those that are not pruned."""
    return [trial for trial in trials if not trial.pruned]


def tried(trial: "FrozenTrial") -> Tried:
    """A finished trial."""
    from optuna.trial import TrialState

    ours = (OVERRIDES, KNOWN, OWNER, STEPS)
    # Not every database gives them back in the order in which they were told.
    facts = {k: v for k, v in sorted(trial.user_attrs.items()) if k not in ours}
    outcome = Outcome(tuple(trial.values or ()), dict(sorted(trial.constraints.items())), facts)
    return Tried(
        number=trial.number,
        overrides=tuple(trial.user_attrs[OVERRIDES]),
        outcome=outcome,
        known=trial.user_attrs.get(KNOWN),
        pruned=trial.state == TrialState.PRUNED,
        steps=trial.user_attrs.get(STEPS, 0),
    )


def of(study: "optuna.Study") -> list[Trial]:
    """Those of a study, by number; what was refused before it ran is none."""
    return [
        Trial(
            number=trial.number,
            state=trial.state.name.lower(),
            values=list(trial.values or ()) if trial.state.name == "COMPLETE" else [],
            constraints=dict(sorted((trial.constraints or {}).items())),
            params=dict(sorted(trial.params.items())),
            overrides=list(trial.user_attrs[OVERRIDES]),
            curve={int(k): float(v) for k, v in trial.intermediate_values.items()},
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and OVERRIDES in trial.user_attrs
    ]
