"""Trials over processes: one study, each trial once, whoever dies."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.suite import Watch
from benchmark.tuning import workers
from benchmark.tuning.problem import Problem, Tried
from benchmark.tuning.study import Study
from tests.tuning_toy import Place, Toy, place_in

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


def toy(folder: Path, watch: Watch) -> Problem:
    """Tells of each trial with a file; the third to begin kills its process."""

    def note(number: int) -> None:
        file = folder / f"begun-{time.time_ns()}-{os.getpid()}"
        file.touch()
        if (folder / "deadly").exists() and len(list(folder.glob("begun-*"))) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    return Toy(before=note)


def wrong(folder: Path, watch: Watch) -> Problem:
    raise UserError("no such thing")


def stillborn(folder: Path, watch: Watch) -> Problem:
    os._exit(3)


def run(place: Place, study: Study, trials: int, told: list[Tried], make=toy) -> list[Tried]:  # type: ignore[no-untyped-def]
    made = partial(make, place.folder)
    return workers.run(study, made, 2, trials, told.append, lambda event: None)


def test_a_worker_that_dies_is_replaced_and_its_trial_tried_again(place: Place) -> None:
    (place.folder / "deadly").touch()
    told = list[Tried]()
    tried = run(place, place.study(), 8, told)
    place.is_sound(8)
    assert [t.number for t in tried] == sorted(t.number for t in told)
    assert sorted(str(t.known) for t in tried) == ["None"] * 6 + ["narrow", "wide"]
    pids = {path.name.rpartition("-")[2] for path in place.folder.glob("begun-*")}
    assert len(list(place.folder.glob("begun-*"))) == 9
    assert len(pids) >= 2
    # What is finished is not run again, nor told again.
    assert run(place, place.study(), 8, told) == tried
    assert len(told) == 8


def test_what_a_worker_refuses_is_one_line(place: Place) -> None:
    with pytest.raises(UserError, match="no such thing"):
        run(place, place.study(), 4, [], wrong)
    with pytest.raises(UserError, match="--workers 2: exit status 3"):
        run(place, place.study(), 4, [], stillborn)
