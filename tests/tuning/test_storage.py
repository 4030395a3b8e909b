"""Where studies are kept: what is no study of ours, and what cannot be a storage, is left alone."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from benchmark.config.search_space import Space
from benchmark.tuning.study import Study
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import SPACE, Place, Toy, place_in


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"problem": Toy(bound=5.0)}, ["defense.bound is 4.0 there and 5.0 here"]),
        ({"sampler": "random"}, ["sampler is tpe there and random here"]),
        ({"seed": 3}, ["sampler_seed is 0 there and 3 here"]),
        ({"part_of": {"race": {"trials": 3}}}, ["race.trials is nothing there and 3 here"]),
        (
            {"problem": Toy(space=Space("attack", {"narrow": SPACE.families["narrow"]}))},
            ["space.wide.x.low is 0.0 there and nothing here"],
        ),
    ],
)
def test_another_study_of_this_name_is_left_alone(
    place: Place, other: dict[str, Any], words: list[str]
) -> None:
    place.run(2)
    before = place.content()
    with pytest.raises(UserError) as caught:
        place.study(**other)
    for word in ["study toy in sqlite:///", *words, "choose another --name"]:
        assert word in str(caught.value)
    assert place.content() == before


def test_a_study_of_somebody_else_is_left_alone(place: Place) -> None:
    theirs = optuna.create_study(study_name="toy", storage=place.url)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    before = place.content()
    with pytest.raises(UserError, match="was not made by this program"):
        place.study()
    assert place.content() == before


def clash(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("create table alembic_version (version_num text)")
        database.commit()
    return f"sqlite:///{folder}/mlflow.db"


def text(folder: Path) -> str:
    (folder / "thesis.tex").write_text("years of work")
    return f"sqlite:///{folder}/thesis.tex"


def journal_of_text(folder: Path) -> str:
    return text(folder).replace("sqlite", "journal")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (clash, ["holds another program's tables"]),
        (text, ["is no SQLite database"]),
        (lambda folder: f"sqlite:///{folder}", ["is a folder"]),
        (lambda folder: "sqlite://", ["no file"]),
        (journal_of_text, ["is no journal of Optuna"]),
        (lambda folder: f"journal:///{folder}", ["is a folder"]),
        (lambda folder: "journal://", ["no file"]),
        (lambda folder: "nonsense", ["nonsense"]),
        (lambda folder: "", ["Could not parse"]),
        (lambda folder: f"sqlite:///{folder}/new/x.db?colour=red", ["'colour' are not accepted"]),
        (lambda folder: "postgresql://me:secret@here:port/x", ["base 10: 'port'"]),
        (lambda folder: "mongodb://me:secret@here/x", ["mongodb", "me:***@here"]),
        (
            lambda folder: "mysql://me:secret@localhost:1/x",
            ["me:***@localhost", "install its driver"],
        ),
    ],
)
def test_a_storage_that_cannot_be(
    tmp_path: Path, make: Callable[[Path], str], words: list[str]
) -> None:
    url = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError) as caught:
        Study(url, "toy", Toy(), "tpe", 0).open()
    message = str(caught.value)
    for word in ["storage ", *words, "valid: sqlite:///FILE.db"]:
        assert word in message
    assert "secret" not in message
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:Geheim7@localhost:1/x",
        "postgresql://me:Geheim7/8@localhost:1/x",
        "postgresql://me:Geheim7#8@localhost:1/x",
        "postgresql://me:Geheim7?8@localhost:1/x",
        "postgresql://me:8@Geheim7@localhost:1/x",
        "postgresql://me:%47eheim7@localhost:1/x",
        "postgresql://:Geheim7@localhost:port/x",
        "mysql+pymysql://localhost:1/x?user=me&password=Geheim7",
        "sqlite:///new/x.db?PASSWD=Geheim7",
        "mssql+pyodbc://?odbc_connect=UID%3Dme%3BPWD%3DGeheim7",
        "me:Geheim7@localhost/x",
        "journal:///thesis.tex/x.log?pwd=Geheim7",
    ],
)
def test_no_password_is_said_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text(tmp_path)
    with pytest.raises(UserError) as caught:
        Study(url, "toy", Toy(), "tpe", 0).open()
    assert "eheim7" not in str(caught.value)
    assert "***" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_storage_that_goes_away_is_said_in_a_line(place: Place) -> None:
    def drop(number: int) -> None:
        with closing(sqlite3.connect(place.file)) as database:
            database.execute("drop table trials")
            database.commit()

    with pytest.raises(UserError, match=r"storage sqlite:///.*no such table: trials"):
        place.run(3, Toy(before=drop))


def test_what_is_looked_at_of_a_storage_that_is_gone_is_said_in_a_line(place: Place) -> None:
    opened = place.study()
    with closing(sqlite3.connect(place.file)) as database:
        database.execute("drop table trials")
        database.commit()
    for look in (opened.finished, opened.tried):
        with pytest.raises(UserError, match=r"storage sqlite:///.*no such table: trials"):
            look()


def test_a_journal_that_is_damaged_meanwhile_is_said_in_a_line(tmp_path: Path) -> None:
    place = place_in(tmp_path, "journal")

    def damage(number: int) -> None:
        with place.file.open("a") as stream:
            stream.write("half a li\n")

    with pytest.raises(UserError, match=r"storage journal:///.*an entry is damaged"):
        place.run(3, Toy(before=damage))


def test_a_description_holds_plain_values(place: Place) -> None:
    described = place.study().open()
    assert json.loads(json.dumps(described)) == described
    assert described["space"]["narrow"]["kind"]["choices"] == ["a", None]
