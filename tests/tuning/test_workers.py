"""Trials over processes: one study, each trial once, whoever dies."""

import itertools
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from benchmark.run.suite import Watch
from benchmark.tuning import workers
from benchmark.tuning.problem import FinishedTrial, Problem
from benchmark.tuning.study import Study
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import Place, Toy, place_in

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


def toy(folder: Path, watch: Watch) -> Problem:
    """Tells of each trial with a file; where it is deadly, the second to the fourth die."""

    def note(number: int) -> None:
        begun = _numbered(folder)
        if (folder / "deadly").exists() and 2 <= begun <= 4:
            # Nobody but the parent ends workers for good, however kindly they are asked.
            os.kill(os.getpid(), signal.SIGKILL if begun == 2 else signal.SIGTERM)

    return Toy(before=note)


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


def wrong(folder: Path, watch: Watch) -> Problem:
    raise UserError("no such thing")


def stillborn(folder: Path, watch: Watch) -> Problem:
    os._exit(3)


def run(  # type: ignore[no-untyped-def]
    place: Place, study: Study, trials: int, told: list[FinishedTrial], make=toy, count=2
) -> list[FinishedTrial]:
    made = partial(make, place.folder)
    return workers.run(study, made, count, trials, told.append, lambda event: None)


@pytest.mark.slow  # processes that import torch
def test_a_worker_that_dies_is_replaced_and_its_trial_tried_again(place: Place) -> None:
    (place.folder / "deadly").touch()
    told = list[FinishedTrial]()
    tried = run(place, place.study(), 5, told)
    place.is_sound(5)
    assert [t.number for t in tried] == sorted(t.number for t in told)
    assert sorted(str(t.known) for t in tried) == ["None"] * 3 + ["narrow", "wide"]
    pids = {path.read_text() for path in place.folder.glob("begun-*")}
    assert len(list(place.folder.glob("begun-*"))) == 8
    assert len(pids) >= 2
    # What is finished is not run again, nor told again.
    assert run(place, place.study(), 5, told) == tried
    assert len(told) == 5


def test_what_a_worker_refuses_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEATHS", 0)
    with pytest.raises(UserError, match="no such thing"):
        run(place, place.study(), 4, [], wrong, 1)
    with pytest.raises(UserError, match="--workers 1: exit status 3"):
        run(place, place.study(), 4, [], stillborn, 1)
