"""What pruners see of a trial, and what they make of it."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmark.tuning.pruning import MAKERS, STARTUP_TRIALS, FeasibleMedian


def trial(reports: dict[int, float], cost: float = -1.0, x: float = 0.5) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=reports[max(reports)],
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=reports,
        constraints={"cost": cost},
    )


def decided(study: optuna.Study, reports: dict[int, float]) -> bool:
    running = study.ask()
    for step, value in reports.items():
        running.report(value, step)
    return running.should_prune()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_is_held_against_what_feasible_ones_reported_at_the_same_step() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", pruner=FeasibleMedian(STARTUP_TRIALS, n_warmup_steps=1)
    )
    for i in range(STARTUP_TRIALS):
        # The median at step 5 is 0.22.
        study.add_trial(trial({1: 0.9, 5: 0.2 + i / 100}))
        study.add_trial(trial({1: 0.9, 5: 0.9}, cost=0.1))
    assert decided(study, {1: 0.8, 5: 0.21})
    assert not decided(study, {1: 0.8, 5: 0.23})
    # What was planted early and is gone does not save a trial, and what came late does.
    assert decided(study, {1: 1.0, 5: 0.1})
    assert not decided(study, {1: 0.0, 5: 0.3})


def rung(value: float, cost: float) -> FrozenTrial:
    """A trial that came through Hyperband's first rung."""
    made = trial({4: value}, cost)
    made.system_attrs |= {f"completed_rung_{i}": value for i in range(3)}
    return made


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("broken", [True, False])
def test_hyperband_too_holds_trials_against_feasible_ones(broken: bool) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=MAKERS["hyperband"](16))
    for value in (0.1, 0.2):
        study.add_trial(rung(value, -1.0))
    for value in (0.8, 0.9, 0.9, 0.9, 0.9, 0.9):
        study.add_trial(rung(value, 0.1 if broken else -1.0))
    # Whatever brackets they are in.
    pruned = [decided(study, {15: 0.3}) for _ in range(12)]
    assert any(pruned) != broken
