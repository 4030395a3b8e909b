"""Trials over processes: one study, each trial once, whoever dies."""

import itertools
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Self

import pytest

from benchmark.run.suite import Watch
from benchmark.tuning import workers
from benchmark.tuning.problem import Evaluation, FinishedTrial, OnStep
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import Place, Toy, place_in

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


@dataclass
class Noting(Toy):
    """Tells of each trial with a file; where it is deadly, the second to the fourth die."""

    folder: Path = Path()

    def evaluate(self, chosen: Sequence[str], report: OnStep) -> Evaluation:
        begun = _numbered(self.folder)
        if (self.folder / "deadly").exists() and 2 <= begun <= 4:
            # Nobody but the parent ends workers for good, however kindly they are asked.
            os.kill(os.getpid(), signal.SIGKILL if begun == 2 else signal.SIGTERM)
        return super().evaluate(chosen, report)


def _numbered(folder: Path) -> int:
    """Leave a file that tells of this process; how many there are, each number once."""
    for number in itertools.count(1):
        try:
            with (folder / f"begun-{number}").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        return number
    raise AssertionError


class Wrong(Toy):
    def telling(self, watch: Watch) -> Self:
        if parent_process() is not None:
            raise UserError("no such thing")
        return self


class Stillborn(Toy):
    def telling(self, watch: Watch) -> Self:
        if parent_process() is not None:
            os._exit(3)
        return self


def run(problem: Toy, place: Place, trials: int, told: list[FinishedTrial]) -> list[FinishedTrial]:
    return place.study(problem).run(trials, told.append, workers=2)


@pytest.mark.slow  # processes that import torch
def test_a_worker_that_dies_is_replaced_and_its_trial_tried_again(place: Place) -> None:
    (place.folder / "deadly").touch()
    told = list[FinishedTrial]()
    problem = Noting(folder=place.folder)
    tried = run(problem, place, 5, told)
    place.is_sound(5)
    assert [t.number for t in tried] == sorted(t.number for t in told)
    assert sorted(str(t.known) for t in tried) == ["None"] * 3 + ["narrow", "wide"]
    pids = {path.read_text() for path in place.folder.glob("begun-*")}
    assert len(list(place.folder.glob("begun-*"))) == 8
    assert len(pids) >= 2
    # What is finished is not run again, nor told again.
    assert run(problem, place, 5, told) == tried
    assert len(told) == 5


def test_what_a_worker_refuses_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEATHS", 0)
    with pytest.raises(UserError, match="no such thing"):
        run(Wrong(), place, 4, [])
    with pytest.raises(UserError, match="--workers 2: exit status 3"):
        run(Stillborn(), place, 4, [])
