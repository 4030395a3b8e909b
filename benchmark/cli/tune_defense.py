"""``tune defense``: the best defense against a set of attacks, or a Pareto front of defenses."""

import argparse
from dataclasses import replace

from benchmark.cli.session import Session
from benchmark.utils.urls import shown


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    # Imported late: what compromises anybody is known to classes, which import torch.
    from benchmark.tuning.attacker import fixed_attacks, read_attack
    from benchmark.tuning.defender import Defender, divide
    from benchmark.tuning.reevaluation import best, front, reevaluate, spread
    from benchmark.tuning.reports.defense_report import DefenseReport

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
    study = session.study(session.name, problem)
    description = study.open()
    with session.begun():
        tried = session.run(study)
        if arguments.pareto:
            candidates = spread(front(tried, problem.directions), arguments.best)
        else:
            candidates = best(tried, arguments.best, "minimize")
        session.tell(
            f"the best {len(candidates)} and the fixed defenses on {len(session.fresh)} new seeds"
        )
        reevaluation = reevaluate(problem, tried, candidates, session.fresh, session.workers)
        report = DefenseReport(
            study.name, shown(session.url), overrides, description, tried, reevaluation
        )
        paths = report.write(session.folder)
        paths.append(session.show())
    session.tell(report.verdict())
    print(*paths, *filter(None, [report.command]), sep="\n")
    return 0
