"""``tune defense`` as a person meets it: a study, a front, their reports, and what is refused."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from benchmark.cli.parser import main
from benchmark.run.record import Record
from tests.support.running import TINY, call, files

# Nobody learns enough in three rounds for anything to cost main accuracy.
HARMLESS = ("federation.client_lr=0.001", "defense=norm_clip")
AGAINST = ("--against", "attack=boosted attack.epochs=1", "--workers", "1")
STUDY, FRONT = Path("results/tuning-defense"), Path("results/tuning-defense-pareto")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, partitioned: Path) -> Path:
    """A working directory with a study of two trials."""
    folder = tmp_path_factory.mktemp("tuned-defense")
    shutil.copytree(partitioned, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command = ["tune", "defense", *TINY, *HARMLESS, *AGAINST, "--trials", "2", "--best", "2"]
        assert main(command) == 0
    return folder


@pytest.fixture
def place(workplace: Path, tuned: Path) -> Path:
    shutil.copytree(tuned / "results", workplace / "results")
    return workplace


def test_a_study_of_defenses_from_the_command_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads((STUDY / "tuning.json").read_text())
    assert found["study"] == "defense"
    assert list(found["description"]["attacks"]) == ["attack=boosted attack.epochs=1"]
    assert [trial["known"] for trial in found["trials"]] == ["norm_clip", None]
    assert [f["overrides"] for f in found["fixed"]] == [["defense=norm_clip"]]
    values = {t["number"]: t["outcome"]["values"][0] for t in found["trials"]}
    assert found["winner"]["found"] == min(values.values())
    assert found["winner"]["against"] == ["attack=boosted", "attack.epochs=1"]
    text = (STUDY / "tuning.md").read_text()
    assert text.startswith("# Tuned defense: defense\n")
    assert "without attack and under `attack=boosted attack.epochs=1`" in text
    assert found["command"] in text
    # The command runs the winner in its worst case as an ordinary cell.
    again = json.loads(call(capsys, *shlex.split(found["command"])[3:], "--json").out)
    value = again["summary"]["backdoor_in_sample"]["last_fifth"]
    assert value == found["winner"]["backdoor"]["1000"]
    assert Record.read(STUDY / "records" / f"{again['cell']}.json").weights_sha256


def test_the_same_command_does_nothing_and_a_front_is_another_study(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("tune", "defense", *TINY, *HARMLESS, *AGAINST, "--trials", "2", "--best", "2")
    before = {p: p.stat().st_mtime_ns for p in (STUDY / "records").iterdir()}
    content = (STUDY / "tuning.json").read_text()
    answer = call(capsys, *command)
    assert "2 of 2 trials are finished" in answer.err
    assert "The tuned defense `defense=norm_clip defense.norm_bound=" in answer.err
    assert {p: p.stat().st_mtime_ns for p in (STUDY / "records").iterdir()} == before
    assert (STUDY / "tuning.json").read_text() == content

    # Its federations are the same, if it finds their records.
    shutil.copytree(STUDY / "records", FRONT / "records")
    answer = call(capsys, *command, "--pareto")
    paths = [
        str(FRONT / name) for name in ("tuning.json", "tuning.md", "pareto.png", "tuning.html")
    ]
    assert answer.out.splitlines()[:4] == paths
    found = json.loads((FRONT / "tuning.json").read_text())
    assert found["description"]["directions"] == ["minimize", "maximize"]
    assert all(len(t["outcome"]["values"]) == 2 for t in found["trials"])
    numbers = [candidate["trial"] for candidate in found["candidates"]]
    assert set(numbers) <= set(found["front"])
    assert set(found["front_on_fresh_seeds"]) <= set(numbers)
    assert f"The front has {len(found['front'])} points" in answer.err
    assert (FRONT / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["defense", "--against", "attack=boostd"], ["no attack 'boostd'", "'boosted'"]),
        (["defense", "--against", "attack=none"], ["plants no backdoor", "attack=boosted"]),
        (["defense", "--against", "attack=alie"], ["plants no backdoor", "attack=boosted"]),
        (["defense", "--against", "attack.epochs=2"], ["must choose one attack"]),
        (["defense", "--against", "attack=boosted seed=1"], ["'seed=1' is not of the attack"]),
        (["defense", "--against", "attack=boosted 'x"], ["no closing quotation"]),
        (["defense", "--against", "attack=boosted attack.epoch=2"], ["'epoch'", "epochs"]),
        (["defense", "--against", "attack=boosted attack.epochs=0"], ["epochs"]),
        (["defense", "defense.norm_bound=1"], ["the defense is what is tuned", "defense=NAME"]),
        (["defense", "attack=boosted"], ["--against 'attack=boosted'"]),
        (["defense", "seed=1"], ["--seeds"]),
        (["defense", "--trials", "0"], ["--trials must be at least 1, got 0"]),
        (["defense", "--moves", "2"], ["--moves is for tune race"]),
        (["attack", "--pareto"], ["--pareto is for tune defense"]),
        (["defense", "--pruner", "median"], ["--pruner is for tune attack and tune race"]),
        (
            ["attack", "--against", "attack=boosted"],
            ["is for tune defense and tune race"],
        ),
        (["race", "--pareto"], ["--pareto is for tune defense"]),
        (["defence"], ["invalid choice: 'defence'", "attack", "defense", "race"]),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    before = files(workplace)
    fault = call(capsys, "tune", *arguments[:1], *TINY, *arguments[1:]).fault
    for word in words:
        assert word in fault
    assert files(workplace) == before
    assert not (workplace / "results").exists()


def test_a_study_against_other_attacks_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (place / name).read_bytes() for name in files(place)}
    fault = call(capsys, "tune", "defense", *TINY, *HARMLESS, "--against", "attack=boosted").fault
    for word in ["study defense", "attacks.attack=boosted", "choose another --name"]:
        assert word in fault
    assert {name: (place / name).read_bytes() for name in files(place)} == before
