"""``tune race`` as a person meets it: moves that are studies, what is left to gain, resuming."""

import json
import shlex
import shutil
from pathlib import Path

import optuna
import pytest

from benchmark.cli.parser import main
from benchmark.cli.session import Progress
from benchmark.tuning.problem import FinishedTrial
from tests.support.running import TINY, call, files

pytestmark = pytest.mark.usefixtures("few_choices")

COMMAND = (
    "tune",
    "race",
    *TINY,
    "federation.rounds=2",
    "federation.client_lr=0.001",
    "--against=attack=boosted attack.epochs=1",
    "--trials=2",
    "--best=1",
    "--moves=2",
    "--workers=1",
)
RACE = Path("results/tuning-race")
STUDIES = ("1-attack", "2-defense", "2-fresh-attack", "2-fresh-defense")


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, partitioned: Path) -> Path:
    """A working directory with a race of two moves."""
    folder = tmp_path_factory.mktemp("raced")
    shutil.copytree(partitioned, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(COMMAND) == 0
    return folder


@pytest.mark.slow  # processes that import torch
def test_a_race_from_the_command_line(
    workplace: Path, raced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(raced / "results", workplace / "results")
    found = json.loads((RACE / "tuning.json").read_text())
    assert found["description"]["problem"] == "race"
    assert found["start"]["attack"] == ["attack=boosted", "attack.epochs=1"]
    assert found["start"]["defense"] == ["defense=mean"]
    assert [move["study"] for move in found["moves"]] == ["race-1-attack", "race-2-defense"]
    assert all(len(move["gain"]) == 3 for move in found["moves"])
    assert found["final"] == found["moves"][-1]["pair"]
    trials = {
        name: optuna.load_study(study_name=f"race-{name}", storage="sqlite:///results/tuning.db")
        for name in STUDIES
    }
    over = [[t.state.is_finished() for t in study.trials] for study in trials.values()]
    assert [sum(finished) for finished in over] == [2, 2, 2, 2]
    told = {name: study.user_attrs["description"] for name, study in trials.items()}
    # The defender answers the attack that was found, too, and the fresh one the last pair's alone.
    answered = shlex.join(found["moves"][0]["strategy"])
    given = ["attack=boosted attack.epochs=1"]
    assert list(told["2-defense"]["attacks"]) == list(dict.fromkeys([*given, answered]))
    assert list(told["2-fresh-defense"]["attacks"]) == [shlex.join(found["final"]["attack"])]
    assert [told[name]["sampler_seed"] for name in STUDIES] == [0, 0, 1, 1]

    text = (RACE / "tuning.md").read_text()
    assert text.startswith("# Arms race: race\n")
    assert "A fresh attacker gains" in text
    assert (RACE / "race.png").read_bytes().startswith(b"\x89PNG")
    # The final pair runs as an ordinary cell.
    again = json.loads(call(capsys, *shlex.split(found["command"])[3:], "--json").out)
    value = again["summary"]["backdoor_in_sample"]["last_fifth"]
    assert value == found["final"]["payoff"]["1000"]


@pytest.mark.slow
def test_a_race_that_is_stopped_goes_on(
    workplace: Path,
    raced: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Federations take no time where their records are.
    shutil.copytree(raced / RACE / "records", RACE / "records")
    told: list[int] = []

    class Stopping(Progress):
        def __call__(self, trial: FinishedTrial) -> None:
            super().__call__(trial)
            told.append(trial.number)
            if len(told) == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.cli.session.Progress", Stopping)
        assert call(capsys, *COMMAND).status == 130
    assert told == [0, 1, 0]
    assert not (RACE / "tuning.json").exists()
    answer = call(capsys, *COMMAND)
    assert answer.status == 0
    assert "study race-1-attack in sqlite:///results/tuning.db: 2 of 2 trials" in answer.err
    assert "study race-2-defense in sqlite:///results/tuning.db: 1 of 2 trials" in answer.err
    for name in ("tuning.json", "tuning.md", "race.png"):
        assert (RACE / name).read_bytes() == (raced / RACE / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials=3"], "race.trials is 2 there and 3 here"),
        (["--best=2"], "race.best is 1 there and 2 here"),
        (["--fresh=4"], "race.fresh is 3 there and 4 here"),
        (["--against=attack=norm_bounded"], "race.against is"),
    ],
)
def test_another_budget_is_another_race_and_this_one_is_as_it_was(
    workplace: Path,
    raced: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    shutil.copytree(raced / "results", workplace / "results")
    before = {name: (workplace / name).read_bytes() for name in files(workplace)}
    fault = call(capsys, *COMMAND, *arguments).fault
    for word in ("study race-1-attack", words, "choose another --name"):
        assert word in fault
    assert {name: (workplace / name).read_bytes() for name in files(workplace)} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--moves", "0"], ["--moves must be at least 1, got 0"]),
        (["--minutes", "0"], ["--minutes must be", "got 0"]),
        (["--minutes", "nan"], ["--minutes must be", "got nan"]),
        (["attack=boosted"], ["--against 'attack=boosted'"]),
        (["--against", "attack=boostd"], ["did you mean 'boosted'?"]),
        (["defense=norm_clip", "defense.norm_bound=-1"], ["norm_bound must be positive"]),
        (["seed=1"], ["--seeds"]),
        (["--storage", "tuning.db"], ["storage tuning.db"]),
        (["--fresh", "2"], ["--fresh must be at least 3"]),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    before = files(workplace)
    fault = call(capsys, "tune", "race", *TINY, *arguments).fault
    for word in words:
        assert word in fault
    assert files(workplace) == before
    assert not (workplace / "results").exists()
