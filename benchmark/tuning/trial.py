"""How a study and its trials are kept: names of attributes, and a stored trial read back."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmark.results.trials import Trial
from benchmark.tuning.problem import Evaluation, FinishedTrial
from benchmark.utils.nested import flat

DESCRIPTION = "description"
"""User attribute of a study: all that makes it this one."""
OVERRIDES, KNOWN, STEPS = "overrides", "known", "steps"
"""User attributes of a trial: what it ran, which known setting it was, how many steps it took."""
AGAIN, SURPLUS, REFUSAL = "again", "surplus", "refusal"
"""User attributes of a trial: which stopped one it repeats; that somebody else had the last one,
or this very setting, already; why its setting is none in this federation."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def finished(study: optuna.Study) -> list[FinishedTrial]:
    """The complete trials and the pruned ones, by number."""
    return [tried(trial) for trial in study.get_trials(deepcopy=False, states=FINISHED)]


def complete(trials: Sequence[FinishedTrial]) -> list[FinishedTrial]:
    """Those that are not pruned."""
    return [trial for trial in trials if not trial.pruned]


def tried(trial: FrozenTrial) -> FinishedTrial:
    """A finished trial."""
    ours = (OVERRIDES, KNOWN, STEPS, AGAIN)
    # Not every database gives them back in the order in which they were told.
    facts = {k: v for k, v in sorted(trial.user_attrs.items()) if k not in ours}
    outcome = Evaluation(tuple(trial.values or ()), dict(sorted(trial.constraints.items())), facts)
    return FinishedTrial(
        number=trial.number,
        overrides=tuple(trial.user_attrs[OVERRIDES]),
        outcome=outcome,
        known=trial.user_attrs.get(KNOWN),
        pruned=trial.state == TrialState.PRUNED,
        steps=trial.user_attrs.get(STEPS, 0),
    )


def of(study: optuna.Study) -> list[Trial]:
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


def difference(found: Any, wanted: Any) -> str:
    """The first value that two descriptions have not in common."""
    if not isinstance(found, dict):
        return "it was not made by this program"
    there, here = dict(flat(found)), dict(flat(wanted))
    key = next(k for k in [*here, *there] if there.get(k, flat) != here.get(k, flat))
    return f"{key} is {there.get(key, 'nothing')} there and {here.get(key, 'nothing')} here"
