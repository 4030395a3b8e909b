"""``tune`` as a person meets it: a study of real federations, its report, and what is refused."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from benchmark.cli import params
from benchmark.cli.parser import main
from benchmark.config.compose import compose
from benchmark.config.plugins import available
from benchmark.run.record import Record
from benchmark.run.studies import StudySettings, study_name
from tests.support.running import TINY, call, files

pytestmark = pytest.mark.usefixtures("few_choices")

# Nobody learns enough in three rounds for an attack to cost main accuracy.
HARMLESS = ("defense=norm_clip", "defense.norm_bound=0.1", "federation.client_lr=0.001")
NAME = "attack-on-norm_clip-norm_bound-0.1"
STUDY = Path(f"results/tuning-{NAME}")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, partitioned: Path) -> Path:
    """A working directory in which a study of four trials was made."""
    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(partitioned, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(
                [
                    "tune",
                    "attack",
                    *TINY,
                    *HARMLESS,
                    "--workers",
                    "1",
                    "--trials",
                    "4",
                    "--best",
                    "2",
                ]
            )
            == 0
        )
    return folder


@pytest.fixture
def place(workplace: Path, tuned: Path) -> Path:
    shutil.copytree(tuned / "results", workplace / "results")
    return workplace


def test_a_study_from_the_command_line(place: Path) -> None:
    found = json.loads((STUDY / "tuning.json").read_text())
    assert found["study"] == NAME
    assert found["storage"] == "sqlite:///results/tuning.db"
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2, 3]
    assert [trial["known"] for trial in found["trials"]] == ["boosted", "norm_bounded", None, None]
    assert all(trial["feasible"] for trial in found["trials"])
    assert found["fresh_seeds"] == [1000, 1001, 1002]
    assert found["description"]["seeds"] == [0, 1]
    assert len(found["candidates"]) == 2
    assert [f["overrides"] for f in found["fixed"]] == [["attack=boosted"], ["attack=norm_bounded"]]
    assert found["winner"]["overrides"] == found["candidates"][0]["overrides"]
    values = {t["number"]: t["outcome"]["values"][0] for t in found["trials"]}
    assert found["winner"]["found"] == values[found["winner"]["trial"]] == max(values.values())
    assert (STUDY / "tuning.md").read_text().startswith(f"# Tuned attacker: {NAME}\n")
    # All of it are ordinary cells, each once: honest ones, trials, candidates and fixed ones.
    seeds = [Record.read(path).seed for path in (STUDY / "records").iterdir()]
    assert seeds.count(0) == seeds.count(1) == 5
    assert seeds.count(1000) == seeds.count(1002) <= 5


def test_the_winner_runs_as_an_ordinary_cell(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads((STUDY / "tuning.json").read_text())
    words = shlex.split(found["command"])
    assert words[:4] == ["python", "-m", "benchmark", "run"]
    again = json.loads(call(capsys, *words[3:], "--json").out)
    value = again["summary"]["backdoor_in_sample"]["last_fifth"]
    assert value == found["winner"]["backdoor"]["1000"]
    kept = Record.read(STUDY / "records" / f"{again['cell']}.json")
    assert kept.weights_sha256 == again["weights_sha256"]


@pytest.mark.slow
def test_the_same_command_does_nothing_and_more_trials_go_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("tune", "attack", *TINY, *HARMLESS, "--workers", "1", "--best", "2")
    before = {p: p.stat().st_mtime_ns for p in (STUDY / "records").iterdir()}
    content = (STUDY / "tuning.json").read_text()
    answer = call(capsys, *command, "--trials", "4")
    assert answer.status == 0
    paths = [f"{STUDY}/tuning.{kind}" for kind in ("json", "md", "html")]
    assert answer.out.splitlines() == [*paths, json.loads(content)["command"]]
    assert "4 of 4 trials are finished" in answer.err
    assert "The tuned attack reaches" in answer.err
    assert {p: p.stat().st_mtime_ns for p in (STUDY / "records").iterdir()} == before
    assert (STUDY / "tuning.json").read_text() == content

    more = call(capsys, *command, "--trials", "5")
    assert "4 of 5 trials are finished" in more.err
    assert more.err.count("] trial ") == 1
    assert "[5/5] trial 4 " in more.err
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    found = json.loads((STUDY / "tuning.json").read_text())
    assert found["trials"][:4] == json.loads(content)["trials"]
    assert len(found["trials"]) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], ["--trials must be at least 1, got 0"]),
        (["--trials", "many"], ["--trials", "invalid int value: 'many'"]),
        (["--seeds", "1"], ["--seeds must be at least 2, got 1"]),
        (["--fresh", "2"], ["--fresh must be at least 3, got 2"]),
        (["--workers", "0"], ["--workers must be at least 1, got 0"]),
        (["--minutes", "0"], ["--minutes must be above 0, got 0"]),
        (["--pruner", "mean"], ["invalid choice: 'mean'", "median", "hyperband", "none"]),
        (["--best", "0"], ["--best must be at least 1, got 0"]),
        (["--sampler-seed", "-1"], ["--sampler-seed must be at least 0, got -1"]),
        (["--sampler", "grid"], ["--sampler", "invalid choice: 'grid'", "tpe", "random"]),
        (["--name", "../x"], ["--name: letters, digits", "'../x'"]),
        (["--storage", "tuning.db"], ["storage tuning.db", "valid: sqlite:///FILE.db"]),
        (["--storage", "mongodb://here/x"], ["storage mongodb://here/x"]),
        (["--storage", "sqlite:///data"], ["data is a folder"]),
        (["attack=boosted"], ["the attack is what is tuned", "conf/attack/NAME.yaml"]),
        (["seed=3"], ["'seed=3'", "--seeds"]),
        (["defense=norm_clp"], ["no defense 'norm_clp'", "did you mean 'norm_clip'?"]),
        (["defense=norm_clip", "defense.norm_bound=-1"], ["norm_bound must be positive"]),
        (["task.num_tasks=51"], ["num_tasks must be 1 to 50", "in the half", "got 51"]),
        (["federation.measured_on=test"], ["a search is on the validation half"]),
        (["tracking=mlflow", "tracking.uri=ftp://x"], ["no scheme ftp"]),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    before = files(workplace)
    fault = call(capsys, "tune", "attack", *TINY, *arguments).fault
    for word in words:
        assert word in fault
    assert files(workplace) == before
    assert not (workplace / "results").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["defense.norm_bound=1"], ["defense.norm_bound is 0.1 there and 1.0 here"]),
        (["federation.rounds=4"], ["federation.rounds is 3 there and 4 here"]),
        (["--seeds", "3"], ["seeds is [0, 1] there and [0, 1, 2] here"]),
        (["--sampler", "random"], ["sampler is tpe there and random here"]),
        (["--pruner", "none"], ["pruner is median there and none here"]),
    ],
)
def test_another_study_is_refused_and_this_one_is_as_it_was(
    place: Path, capsys: pytest.CaptureFixture[str], change: list[str], words: list[str]
) -> None:
    before = {name: (place / name).read_bytes() for name in files(place)}
    command = ("tune", "attack", *TINY, *HARMLESS, "--trials", "9", "--name", NAME)
    fault = call(capsys, *command, *change).fault
    for word in [f"study {NAME}", *words, "choose another --name"]:
        assert word in fault
    assert {name: (place / name).read_bytes() for name in files(place)} == before


def test_a_fixed_attack_outside_of_the_ranges_is_no_trial_but_is_judged(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = ("defense=norm_clip", "defense.norm_bound=0.01", "federation.client_lr=0.001")
    answer = call(
        capsys, "tune", "attack", *TINY, *bound, "--trials", "1", "--workers", "1", "--name", "far"
    )
    assert answer.status == 0
    assert "attack=norm_bounded lies outside of its own search:" in answer.err
    found = json.loads(Path("results/tuning-far/tuning.json").read_text())
    assert [trial["known"] for trial in found["trials"]] == ["boosted"]
    assert [f["found"] is None for f in found["fixed"]] == [False, True]
    assert all(len(f["backdoor"]) == 3 for f in found["fixed"])


def params_file(place: Path, **tuning: object) -> Path:
    """A params.yaml of tiny federations, and of studies of two bounds."""
    content = params.of("smoke")
    content["task"]["num_tasks"] = 2
    content["federation"] |= {"rounds": 3, "clients_per_round": 3, "evaluate_every": 1}
    content["federation"]["client_lr"] = 0.001
    studies = {f"bound-{b}": ["defense=norm_clip", f"defense.norm_bound={b}"] for b in (0.1, 0.2)}
    content["tuning"] = content["tuning"] | {"studies": studies, "trials": 1, "best": 1} | tuning
    (place / "params.yaml").write_text(yaml.safe_dump(content))
    return place / "params.yaml"


@pytest.mark.slow  # processes that import torch
def test_the_studies_of_a_parameter_file(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("tune", "attack", "--params", params_file(workplace), "tracking=none", "--workers=1")
    assert call(capsys, *command, "--name", "bound-0.2").status == 0
    assert not Path("results/tuning-bound-0.1").exists()
    content = Path("results/tuning-bound-0.2/tuning.json").read_text()
    again = call(capsys, *command)
    assert again.err.count("] trial ") == 1
    assert Path("results/tuning-bound-0.2/tuning.json").read_text() == content
    found = json.loads(Path("results/tuning-bound-0.1/tuning.json").read_text())
    assert len(found["trials"]) == 1
    assert found["description"]["configuration"]["defense"]["norm_bound"] == 0.1
    # As in the cells of the suite.
    suite = compose(["data=digits5k", "task.num_tasks=2", "federation.rounds=3"])
    assert found["description"]["configuration"]["task"] == suite["task"]
    assert found["fresh_seeds"] == [1000, 1001, 1002]

    # What the command line asks for is not overruled by the file.
    more = call(capsys, *command, "--name", "bound-0.2", "--trials", "2")
    assert "1 of 2 trials are finished" in more.err
    content = Path("results/tuning-bound-0.2/tuning.json").read_text()
    assert len(json.loads(content)["trials"]) == 2

    # An edit is another study in the same place, and undone it is the first one again.
    params_file(workplace, seeds=3)
    other = call(capsys, *command, "--name", "bound-0.2")
    assert "0 of 1 trials are finished" in other.err
    assert (
        json.loads(Path("results/tuning-bound-0.2/tuning.json").read_text())["study"]
        != (json.loads(content)["study"])
    )
    params_file(workplace)
    assert "2 of 1 trials are finished" in call(capsys, *command, "--name", "bound-0.2").err
    assert Path("results/tuning-bound-0.2/tuning.json").read_text() == content


@pytest.mark.parametrize(
    ("tuning", "arguments", "words"),
    [
        ({}, ["--name", "bound"], ["no study 'bound'", "valid: bound-0.1, bound-0.2"]),
        ({"trials": 0}, [], ["--trials must be at least 1, got 0"]),
        ({"trials": "many"}, [], ["tuning: trials must be a whole number, got 'many'"]),
        ({"sampler": "grid"}, [], ["no sampler 'grid'", "random"]),
        ({"trails": 3}, [], ["no key 'trails'", "did you mean 'trials'?"]),
        ({"studies": {}}, [], ["studies must map names to lists of overrides"]),
        ({"studies": {"a": ["defense=norm_clp"]}}, [], ["did you mean 'norm_clip'?"]),
        ({"studies": {"../a": ["defense=mean"]}}, [], ["--name: letters, digits"]),
        ({"studies": {"a": ["attack=boosted"]}}, [], ["the attack is what is tuned"]),
    ],
)
def test_what_is_wrong_in_a_parameter_file_is_said_in_a_line(
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    tuning: dict[str, object],
    arguments: list[str],
    words: list[str],
) -> None:
    file = params_file(workplace, **tuning)
    fault = call(capsys, "tune", "attack", "--params", file, "tracking=none", *arguments).fault
    for word in words:
        assert word in fault
    assert not (workplace / "results").exists()


def test_a_study_is_named_after_what_differs() -> None:
    assert study_name(["defense=norm_clip"]) == "attack-on-norm_clip"
    assert study_name(["defense=norm_clip", "defense.norm_bound=3"]) == "attack-on-norm_clip"
    chosen = ["defense=weak_dp", "defense.noise_std=0.002", "defense.noise_on=sum"]
    assert study_name(chosen) == "attack-on-weak_dp-noise_std-0.002-noise_on-sum"


@pytest.mark.parametrize("name", available("tuning"))
def test_the_studies_in_conf_are_named_as_if_nobody_had(name: str) -> None:
    settings = StudySettings.read(name)
    for study, defense in settings.studies.items():
        assert study == study_name(defense)
