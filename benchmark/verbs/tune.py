"""``tune``: the strongest attacker against a defense."""

import argparse
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console

from benchmark import config, params
from benchmark.construction import make
from benchmark.errors import UserError
from benchmark.tracking.uri import shown
from benchmark.tuning.problem import Tried
from benchmark.tuning.settings import digest, study_name
from benchmark.tuning.study import SAMPLERS, Study
from benchmark.verbs.reporting import Watch, own_console, say

LEAST = {"trials": 1, "seeds": 2, "fresh": 3, "best": 1, "sampler_seed": 0}


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    studies = [arguments] if arguments.params is None else list(_of_params(arguments))
    for study in studies:
        _check(study)
        config.compose(study.overrides)
    return max(_tune(study) for study in studies)


def _of_params(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The studies of a parameter file, as if they had been asked for one by one."""
    settings, shared = params.read_tuning(arguments.params)
    if arguments.name is not None and arguments.name not in settings.studies:
        raise config.unknown("study", arguments.name, settings.studies, str(arguments.params))
    budget = {k: v for k, v in asdict(settings).items() if k != "studies"}
    for name, defense in settings.studies.items():
        if arguments.name in (None, name):
            overrides = [*shared, *defense, *arguments.overrides]
            given = {**vars(arguments), **budget, "name": name, "overrides": overrides}
            yield argparse.Namespace(**given)


def _tune(arguments: argparse.Namespace) -> int:
    resolved = config.compose(arguments.overrides)
    name = arguments.name or study_name(arguments.overrides)
    folder = arguments.results / f"tuning-{name}"
    url = arguments.storage or f"sqlite:///{arguments.results / 'tuning.db'}"
    console = own_console()
    # An end from outside is that of Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Imported late: what compromises anybody is known to classes, which import torch.
    from benchmark.tuning.attacker import Attacker
    from benchmark.tuning.reevaluation import FRESH_FROM, best, reevaluate
    from benchmark.tuning.report import Report

    tracker = make("tracking", resolved["tracking"])
    watch = Watch(lambda event: None, tracker, folder)
    problem = Attacker.against(arguments.overrides, range(arguments.seeds), folder, watch)
    problem.check()
    study = Study(url, name, problem, arguments.sampler, arguments.sampler_seed)
    if arguments.params is not None:
        # What a pipeline finds changed is run anew, and what it finds changed back is there still.
        study.name = f"{name}-{digest(study.describe())}"
    description = study.open()
    folder.mkdir(parents=True, exist_ok=True)
    tracker.open_suite(folder.name, {"overrides": arguments.overrides, "trials": arguments.trials})
    try:
        progress = Progress(console, arguments.trials, study.tried())
        console.print(
            f"study {study.name} in {shown(url)}: {progress.finished} of {arguments.trials} trials "
            "are finished",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        for family in problem.space.families.keys() - problem.known().keys():
            say(console, [f"attack={family} lies outside of its own search:, so it is no trial"])
        problem.prepare()
        tried = study.run(arguments.trials, progress)
        fresh = range(FRESH_FROM, FRESH_FROM + arguments.fresh)
        console.print(f"the best {arguments.best} and the fixed attacks on {len(fresh)} new seeds")
        reevaluation = reevaluate(problem, tried, best(tried, arguments.best), fresh)
    finally:
        say(console, tracker.close())
    overrides = tuple(arguments.overrides)
    report = Report(study.name, shown(url), overrides, description, tried, reevaluation)
    paths = report.write(folder)
    console.print(report.verdict(), markup=False, highlight=False, soft_wrap=True)
    print(*paths, *filter(None, [report.command]), sep="\n")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for option, least in LEAST.items():
        value = getattr(arguments, option)
        if value < least:
            raise UserError(f"--{option.replace('_', '-')} must be at least {least}, got {value}")
    if arguments.sampler not in SAMPLERS:
        raise config.unknown("sampler", arguments.sampler, SAMPLERS)
    if arguments.name is not None and not re.fullmatch(r"\w[\w.-]*", arguments.name):
        raise UserError(
            f"--name: letters, digits, '.', '_' and '-' make a name, got {arguments.name!r}"
        )


class Progress:
    """A line for each trial that this process finishes.

    Args:
        console: where to.
        trials: how many there will be.
        before: those that are finished already.
    """

    def __init__(self, console: Console, trials: int, before: list[Tried]):
        self.console, self.trials, self.finished = console, trials, len(before)
        self.best = max((t.value for t in before if t.feasible), default=None)
        self.own, self.started = 0, time.monotonic()

    def __call__(self, trial: Tried) -> None:
        """Show one."""
        self.finished += 1
        self.own += 1
        value = trial.value
        if trial.feasible:
            self.best = max(value, value if self.best is None else self.best)
        seconds = int((time.monotonic() - self.started) / self.own)
        left = seconds * max(self.trials - self.finished, 0)
        attack = " ".join(word.removeprefix("attack.") for word in trial.overrides)
        self.console.print(
            f"[{self.finished}/{self.trials}] trial {trial.number} {attack}  backdoor {value:.3f}  "
            f"main {trial.outcome.facts['main_accuracy']:.3f}"
            f"{'' if trial.feasible else ' (too low)'}  "
            f"best {'none' if self.best is None else f'{self.best:.3f}'}  "
            f"({left // 60}:{left % 60:02} left)",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
