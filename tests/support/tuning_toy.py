"""A problem that takes no time, and a place for studies of it."""

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import yaml
from optuna.trial import TrialState

from benchmark.config.search_space import Choices, Range, Space
from benchmark.run.curve import Curve
from benchmark.run.events import Event, Finished, Round, Started, Stopped
from benchmark.run.executors.base import Executor
from benchmark.run.executors.local import LocalExecutor
from benchmark.run.suite import Watch
from benchmark.tuning.federated_problem import FederatedProblem
from benchmark.tuning.problem import Direction, Evaluation, FinishedTrial, Metrics
from benchmark.tuning.storage import connect
from benchmark.tuning.study import Study
from benchmark.tuning.trial import AGAIN, SURPLUS
from benchmark.tuning.workplace import Workplace

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


class ToyCell(NamedTuple):
    """A federation of a round for each step, in which x is measured."""

    chosen: tuple[str, ...]
    rounds: int

    @property
    def id(self) -> str:
        return " ".join(self.chosen)

    @property
    def x(self) -> float:
        return float(self.chosen[1].partition("=")[2])

    def record_path(self, folder: Path) -> Path:
        """It never has one."""
        return folder / "none"


class Made(NamedTuple):
    """A record."""

    curves: dict[str, Curve]


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

    def refusal(self, cells: Sequence[ToyCell]) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"problem": "toy", "space": self.space.describe(), "defense": {"bound": self.bound}}

    def known(self) -> dict[str, dict[str, Any]]:
        return self.settings

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        words = [word.removeprefix("attack.").partition("=") for word in chosen]
        section = {key: yaml.safe_load(value) for key, _, value in words}
        return self.space.point(section | {"name": section["attack"]})

    def prepare(self) -> None: ...

    def cells(self, chosen: Sequence[str]) -> list[Any]:
        return [ToyCell(tuple(chosen), self.steps)]

    def so_far(self, rounds: Sequence[Sequence[Metrics]]) -> float | None:
        return rounds[-1][-1]["x"]

    def evaluate(self, chosen: Sequence[str]) -> Evaluation:
        x = ToyCell(tuple(chosen), 0).x
        return Evaluation((x,), {"bound": x - self.bound}, {"x": x} | self.facts)

    @property
    def at(self) -> Workplace:
        return Workplace(Path("nowhere"), ToyExecutor(self), lambda event: None)


def here(folder: Path = Path("results"), watch: Watch = lambda event: None) -> Workplace:
    """A real one with a worker."""
    return Workplace(folder, LocalExecutor(1), watch)


def evaluated(problem: FederatedProblem, chosen: Sequence[str]) -> Evaluation:
    """A trial of its own."""
    problem.prepare()
    problem.federations.at.finish(problem.cells(chosen))
    return problem.evaluate(chosen)


class ToyExecutor(Executor):
    """Runs a toy's federations in this process, one at a time."""

    def __init__(self, toy: Toy):
        self.toy, self.stopped, self.workers = toy, set[str](), 1

    def run(self, cells: Sequence[Any], folder: Path) -> Generator[Event, None, None]:
        taken = 0
        while taken < len(cells):
            cell = cells[taken]
            taken += 1
            self.stopped.discard(cell.id)
            yield Started(cell)
            self.toy.asked.append(cell.chosen)
            self.toy.before(len(self.toy.asked))
            for step in range(cell.rounds):
                self.toy.reached[cell.chosen] = step
                yield Round(cell, step, {"x": cell.x})
                if cell.id in self.stopped:
                    yield Stopped(cell, "pruned")
                    break
            else:
                yield Finished(cell, Made({}))  # type: ignore[arg-type]

    def stop(self, cell: Any, reason: str) -> None:
        self.stopped.add(cell.id)


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
        problem = problem or Toy()
        return self.study(problem, **other).run(trials, problem.at, lambda trial: None)

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
        took_over = [t for t in own if AGAIN in t.user_attrs]
        assert sorted(t.user_attrs[AGAIN] for t in took_over) == stopped
        for trial in took_over:
            assert trial.params == trials[trial.user_attrs[AGAIN]].params


def place_in(folder: Path, scheme: str = "sqlite") -> Place:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return Place(folder, scheme)
