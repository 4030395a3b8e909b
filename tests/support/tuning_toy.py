"""A problem that takes no time, and a place for studies of it."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import optuna
import yaml
from optuna.trial import TrialState

from benchmark.config.search_space import Choices, Range, Space
from benchmark.run.suite import Watch
from benchmark.tuning.problem import Direction, Evaluation, FinishedTrial, OnStep
from benchmark.tuning.stopped import SURPLUS
from benchmark.tuning.storage import connect
from benchmark.tuning.study import Study

SPACE = Space(
    "attack",
    {
        "wide": {"x": Range(0.0, 10.0, False, {}), "n": Range(1, 5, False, {})},
        "narrow": {"x": Range(0.01, 1.0, True, {}), "kind": Choices(("a", None), {})},
    },
)
KNOWN = {
    "wide": {"attack": "wide", "attack.wide.x": 2.5, "attack.wide.n": 3},
    "narrow": {"attack": "narrow", "attack.narrow.x": 0.5, "attack.narrow.kind": None},
}


def nothing(number: int) -> None: ...


def unreported(step: int, value: float) -> None: ...


@dataclass
class Toy:
    """Maximizes x of ``wide``, up to 4: beyond, the constraint is missed."""

    bound: float = 4.0
    before: Callable[[int], None] = nothing
    asked: list[tuple[str, ...]] = field(default_factory=list)
    reached: dict[tuple[str, ...], int] = field(default_factory=dict)
    space: Space = SPACE
    directions: tuple[Direction, ...] = ("maximize",)
    steps: int = 4
    settings: dict[str, dict[str, Any]] = field(default_factory=lambda: KNOWN)
    facts: dict[str, float] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        return {"problem": "toy", "space": self.space.describe(), "defense": {"bound": self.bound}}

    def known(self) -> dict[str, dict[str, Any]]:
        return self.settings

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        words = [word.removeprefix("attack.").partition("=") for word in chosen]
        section = {key: yaml.safe_load(value) for key, _, value in words}
        return self.space.point(section | {"name": section["attack"]})

    def prepare(self, workers: int) -> None: ...

    def telling(self, watch: Watch) -> Self:
        return self

    def evaluate(self, chosen: Sequence[str], report: OnStep) -> Evaluation:
        self.asked.append(tuple(chosen))
        self.before(len(self.asked))
        x = float(chosen[1].partition("=")[2])
        for step in range(self.steps):
            self.reached[tuple(chosen)] = step
            report(step, x)
        return Evaluation((x,), {"bound": x - self.bound}, {"x": x} | self.facts)


@dataclass(frozen=True)
class Place:
    """A database of studies, or a journal of them."""

    folder: Path
    scheme: str = "sqlite"

    @property
    def file(self) -> Path:
        return self.folder / "tuning.db"

    @property
    def url(self) -> str:
        return f"{self.scheme}:///{self.file}"

    def study(self, problem: Toy | None = None, **other: Any) -> Study:
        options = {"name": "toy", "sampler": "tpe", "seed": 0} | other
        made = Study(self.url, problem=problem or Toy(), **options)
        made.open()
        return made

    def run(self, trials: int, problem: Toy | None = None, **other: Any) -> list[FinishedTrial]:
        return self.study(problem, **other).run(trials, lambda trial: None)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name="toy", storage=connect(self.url)).trials

    def content(self) -> list[str]:
        """All rows of all tables."""
        with closing(sqlite3.connect(self.file)) as database:
            return list(database.iterdump())

    def is_sound(self, count: int) -> None:
        """As many trials as asked; each that was stopped has exactly one that took its place."""
        trials = self.trials()
        assert sum(trial.state == TrialState.COMPLETE for trial in trials) == count
        assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
        # Two workers that found it at once both put it in line, and one gives way.
        own = [t for t in trials if SURPLUS not in t.user_attrs]
        stopped = [t.number for t in own if t.state == TrialState.FAIL and t.params]
        took_over = [t for t in own if retried(t)]
        replaced = [t.system_attrs["retry_history"][-1] for t in took_over]
        assert sorted(replaced) == stopped
        for trial in took_over:
            assert trial.params == trials[trial.system_attrs["retry_history"][-1]].params


def retried(trial: optuna.trial.FrozenTrial) -> bool:
    return "retry_history" in trial.system_attrs


def place_in(folder: Path, scheme: str = "sqlite") -> Place:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return Place(folder, scheme)
