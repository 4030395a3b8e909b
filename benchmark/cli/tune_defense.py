"""``tune defense``: the best defense against a set of attacks, or a Pareto front of defenses."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.cli.session import Session

if TYPE_CHECKING:
    from benchmark.tuning.problem import FinishedTrial


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    # Imported late: what compromises anybody is known to classes, which import torch.
    from benchmark.tuning.attacker import fixed_attacks, read_attack
    from benchmark.tuning.defender import Defender, divide
    from benchmark.tuning.defense_sections import DefenseReport
    from benchmark.tuning.reevaluation import best, front, spread

    _, overrides = divide(arguments.overrides)
    name = arguments.name or f"defense{'-pareto' * arguments.pareto}"
    session = Session(arguments, name, overrides)
    attacks = list(map(read_attack, arguments.against)) or fixed_attacks()
    problem = Defender.against(
        attacks, arguments.overrides, session.seeds, session.folder, session.watch
    )
    if arguments.pareto:
        problem = replace(problem, directions=("minimize", "maximize"))
    problem.check()

    def choose(tried: "list[FinishedTrial]") -> "list[FinishedTrial]":
        if arguments.pareto:
            return spread(front(tried, problem.directions), arguments.best)
        return best(tried, arguments.best, "minimize")

    return session.judge(session.study(name, problem), problem, DefenseReport, choose)
