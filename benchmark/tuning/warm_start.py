"""What earlier studies found, as settings that another study tries first.

Importing this module imports Optuna.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from benchmark.tuning.federated_problem import FederatedProblem
from benchmark.tuning.problem import Direction
from benchmark.tuning.reevaluation import best
from benchmark.tuning.trial import DESCRIPTION, complete, finished
from benchmark.utils.errors import UserError, unknown
from benchmark.utils.urls import shown

COUNT = 5
"""Of each earlier study."""


def points(
    storage: BaseStorage, url: str, names: Sequence[str], problem: FederatedProblem
) -> dict[str, dict[str, Any]]:
    """The best feasible settings of earlier studies, of a study of several directions its front.

    Those outside of the problem's space are left out.

    Args:
        storage: of the earlier studies.
        url: of it, to be shown.
        names: of the studies.
        problem: the one that is to be searched now.

    Returns:
        ``STUDY NUMBER``, the trial's, → a trial's parameters.

    Raises:
        UserError: there is no such study, or it is of another kind of problem.
    """
    kind = problem.describe()["problem"]
    found = dict[str, dict[str, Any]]()
    for name in names:
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            there = optuna.get_all_study_names(storage)
            raise unknown("study", name, there, f"--warm-start in {shown(url)}") from None
        theirs = study.user_attrs.get(DESCRIPTION, {}).get("problem")
        if theirs != kind:
            raise UserError(
                f"--warm-start {name}: its problem is {theirs or 'of another program'}, "
                f"this study's is {kind}"
            )
        directions: list[Direction] = [
            "maximize" if direction == StudyDirection.MAXIMIZE else "minimize"
            for direction in study.directions
        ]
        for trial in best(complete(finished(study)), COUNT, directions):
            if (point := problem.point(trial.overrides)) is not None:
                found[f"{name} {trial.number}"] = point
    return found
