"""What a command that tunes does around its studies, whatever goes wrong."""

import sqlite3
from argparse import Namespace
from contextlib import closing, suppress
from pathlib import Path

import pytest

from benchmark.cli.session import Session
from benchmark.run.executors.local import LocalExecutor
from benchmark.tracking import NoTracker
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import Toy, place_in


@pytest.fixture
def session(workplace: Path) -> Session:
    place_in(workplace)
    budget = {"trials": 3, "minutes": None, "seeds": 2, "fresh": 3}
    search = {"what": "attack", "sampler": "tpe", "sampler_seed": 0, "pruner": "none"}
    where = {"results": Path("results"), "storage": None, "warm_start": [], "overrides": []}
    given = Namespace(**budget, **search, **where, executor=LocalExecutor(1))
    return Session(given, "toy", ["tracking=none"])


def test_trials_that_another_command_finishes_count(session: Session) -> None:
    def stop(trial: object) -> None:
        raise KeyboardInterrupt

    def elsewhere(number: int) -> None:
        if number == 1:
            other = session.study("toy", Toy())
            other.open()
            with suppress(KeyboardInterrupt):
                other.run(3, Toy().at, stop)

    toy = Toy(before=elsewhere, facts={"main_accuracy": 0.9})
    session.at = toy.at
    study = session.study("toy", toy)
    study.open()
    assert len(session.run(study)) == 3


def test_tracking_ends_where_the_storage_is_gone_too(session: Session) -> None:
    closed = list[bool]()

    class Closing(NoTracker):
        def close(self) -> list[str]:
            closed.append(True)
            return []

    session.tracker = Closing()
    study = session.study("toy", Toy())
    study.open()
    session.opened["toy"] = study
    with closing(sqlite3.connect("results/tuning.db")) as database:
        database.execute("DROP TABLE trials")
        database.commit()
    with pytest.raises(UserError, match="no such table"), session.begun():
        pass
    assert closed == [True]
