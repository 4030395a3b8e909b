"""``tune``: the strongest attacker against a defense, the best defense, or a race of both."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from benchmark.cli import params, tune_race
from benchmark.cli.executing import executor
from benchmark.cli.session import Session
from benchmark.config.compose import compose
from benchmark.run.studies import study_name
from benchmark.tuning.attacker import Attacker, fixed_attacks, read_attack
from benchmark.tuning.defender import Defender, divide
from benchmark.tuning.problem import SAMPLERS
from benchmark.utils.errors import UserError, unknown
from benchmark.utils.nested import digest

OWN = {
    "against": ("defense", "race"),
    "pareto": ("defense",),
    "moves": ("race",),
    "warm_start": ("attack", "defense"),
    "params": ("attack",),
    "pruner": ("attack", "race"),
}
"""Options that not everything that is tuned has."""
BUDGET = {"trials": 50, "seeds": 2, "fresh": 3, "best": 3, "sampler": "tpe"}
"""Where neither the command line nor a parameter file says otherwise."""
LEAST = {"trials": 1, "seeds": 2, "fresh": 3, "best": 1, "sampler_seed": 0, "workers": 1}


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    for option, whose in OWN.items():
        if getattr(arguments, option) not in (None, False, []) and arguments.what not in whose:
            raise UserError(f"--{option.replace('_', '-')} is for tune {' and tune '.join(whose)}")
    if arguments.pruner is None:
        # Of what a study of defenses minimizes, no single round tells.
        arguments.pruner = "none" if arguments.what == "defense" else "median"
    asked = {k: v for k in BUDGET if (v := getattr(arguments, k)) is not None}
    vars(arguments).update(BUDGET | asked)
    _check(arguments)
    with executor(arguments) as arguments.executor:
        if arguments.what != "attack":
            return _defense(arguments) if arguments.what == "defense" else tune_race.main(arguments)
        studies = [arguments] if arguments.params is None else list(_of_params(arguments, asked))
        for study in studies:
            _check(study)
            compose(study.overrides)
        return max(_attack(study) for study in studies)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse a budget or a name that is none."""
    for option, least in LEAST.items():
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise UserError(f"--{option.replace('_', '-')} must be at least {least}, got {value}")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise UserError(f"--minutes must be above 0, got {arguments.minutes:g}")
    if arguments.sampler not in SAMPLERS:
        raise unknown("sampler", arguments.sampler, SAMPLERS)
    if arguments.name is not None and not re.fullmatch(r"\w[\w.-]*", arguments.name):
        raise UserError(
            f"--name: letters, digits, '.', '_' and '-' make a name, got {arguments.name!r}"
        )


def _of_params(
    arguments: argparse.Namespace, asked: dict[str, Any]
) -> Iterator[argparse.Namespace]:
    """The studies of a parameter file, as if they had been asked for one by one.

    Args:
        arguments: those of the command.
        asked: the budget as far as the command line has it, which the file's gives way to.
    """
    settings, shared = params.read_tuning(arguments.params)
    if arguments.name is not None and arguments.name not in settings.studies:
        raise unknown("study", arguments.name, settings.studies, str(arguments.params))
    budget = {k: v for k, v in asdict(settings).items() if k != "studies"}
    for name, defense in settings.studies.items():
        if arguments.name in (None, name):
            overrides = [*shared, *defense, *arguments.overrides]
            given = {**vars(arguments), **budget, **asked, "name": name, "overrides": overrides}
            yield argparse.Namespace(**given)


def _attack(arguments: argparse.Namespace) -> int:
    overrides = tuple(arguments.overrides)
    session = Session(arguments, arguments.name or study_name(overrides), overrides)
    # Imported late, as all that draws.
    from benchmark.tuning.attack_sections import AttackReport

    problem = Attacker.against(overrides, session.seeds, session.at)
    study = session.study(session.name, problem)
    if arguments.params is not None:
        # What a pipeline finds changed is run anew, and what it finds changed back is there still.
        study.name = f"{session.name}-{digest(study.describe())}"
    return session.judge(study, AttackReport)


def _defense(arguments: argparse.Namespace) -> int:
    from benchmark.tuning.defense_sections import DefenseReport

    _, overrides = divide(arguments.overrides)
    name = arguments.name or f"defense{'-pareto' * arguments.pareto}"
    session = Session(arguments, name, overrides)
    attacks = list(map(read_attack, arguments.against)) or fixed_attacks()
    problem = Defender.against(attacks, arguments.overrides, session.seeds, session.at)
    if arguments.pareto:
        problem = replace(problem, directions=("minimize", "maximize"))
    return session.judge(session.study(name, problem), DefenseReport)
