"""The DVC pipeline as somebody with a clone of the repository lives with it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import newcomer
from tests.support.running import ROOT, environment, leave_few

pytestmark = pytest.mark.slow

STUDY = "attack-on-norm_clip-norm_bound-0.5"


def run(folder: Path, *words: str) -> str:
    """Run a program of the virtual environment; what it said."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={
            **environment(folder),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        },
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *words)


def git(folder: Path, *words: str) -> str:
    return run(folder, "git", *words)


def benchmark(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, "-m", "benchmark", *words)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A step")


def contents(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


def records(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every record: a file that is written again gets another identity."""
    paths = (folder / "results" / "smoke" / "records").glob("*.json")
    return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def fact(folder: Path, cell: str, *keys: str) -> object:
    found = json.loads((folder / "results/smoke/records" / f"{cell}.json").read_text())
    for key in keys:
        found = found[key]
    return found


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this working tree's files, whose pipeline has run a tiny suite."""
    folder = tmp_path_factory.mktemp("pipeline") / "repository"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("the project is not a git checkout here")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    leave_few(folder / "conf")
    smoke = folder / "conf" / "suite" / "smoke.yaml"
    content = yaml.safe_load(smoke.read_text())
    content["axes"] = {"attack": ["*"], "defense": ["mean"]}
    content["overrides"].append("federation.rounds=2")
    smoke.write_text(yaml.safe_dump(content))
    git(folder, "init", "--quiet")
    # The repository's own: DVC's experiments are commits, and not everybody has a global one.
    git(folder, "config", "user.name", "Tester")
    git(folder, "config", "user.email", "tester@example.org")
    benchmark(folder, "params", "smoke")
    commit(folder)
    assert (folder / ".dvc" / "config").is_file()
    dvc(folder, "repro")
    commit(folder)
    return folder


@pytest.fixture
def repository(reproduced: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(reproduced, tmp_path / "repository", symlinks=True)
    return tmp_path / "repository"


def test_right_after_everything_is_there_and_up_to_date(reproduced: Path) -> None:
    before = records(reproduced)
    assert {cell.split("-")[0] for cell in before} == {"none", "boosted", "norm_bounded"}
    for name in ("leaderboard.html", "leaderboard.md", "leaderboard.json", "tradeoff.png"):
        assert (reproduced / "results" / "smoke" / name).stat().st_size > 0
    assert (reproduced / "data" / "partitioned" / "card.png").is_file()
    assert "Data and pipelines are up to date." in dvc(reproduced, "status")
    said = dvc(reproduced, "repro")
    for stage in ("partition", "suite", "leaderboard", f"tune@{STUDY}"):
        assert f"Stage '{stage}' didn't change, skipping" in said
    assert "Running stage" not in said
    assert records(reproduced) == before
    assert git(reproduced, "status", "--porcelain") == ""


def test_the_data_of_the_records_are_those_that_dvc_tracks(reproduced: Path) -> None:
    manifest = json.loads((reproduced / "data" / "partitioned" / "manifest.json").read_text())
    hashes = {fact(reproduced, cell, "data", "hash") for cell in records(reproduced)}
    assert hashes == {manifest["hash"]}
    assert [path.name for path in (reproduced / "data").iterdir() if path.is_dir()] == [
        "partitioned"
    ]


def test_an_experiment_with_another_parameter_and_back(repository: Path) -> None:
    before = records(repository)
    changed = ("--set-param", "federation.rounds=3", "--name", "longer")
    dvc(repository, "exp", "run", *changed, "leaderboard")
    shown = json.loads(dvc(repository, "exp", "show", "--json").split("\n", 1)[0] or "[]")
    assert "longer" in json.dumps(shown)
    diff = json.loads(dvc(repository, "params", "diff", "--json"))
    assert diff["params.yaml"]["federation.rounds"] == {"old": 2, "new": 3, "diff": 1}
    after = records(repository)
    new = after.keys() - before.keys()
    assert len(new) == len(before)
    assert {fact(repository, cell, "config", "federation", "rounds") for cell in new} == {3}
    # The earlier ones stay, and are not counted.
    assert before.items() <= after.items()
    listed = json.loads((repository / "results/smoke/suite.json").read_text())["cells"]
    assert {entry["cell"] for entry in listed} == new
    # Edited back by hand: that is seen, and nothing is left to run.
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("rounds: 3\n", "rounds: 2\n"))
    assert "suite" in dvc(repository, "status")
    dvc(repository, "repro", "leaderboard")
    assert records(repository) == after


def test_only_what_was_edited_or_is_new_runs_and_appears_everywhere(repository: Path) -> None:
    """A new attack and an edited one run; one that is explained better does not, nor tuning."""
    before, studied = records(repository), contents(repository, [f"results/tuning-{STUDY}"])
    newcomer(repository)
    package = repository / "benchmark"
    for name, old, new in (
        ("attacks/norm_bounded.py", '"""The norm', '# At last.\n"""The norm'),
        ("attacks/boosted.py", "return boosted(", "return 1 * boosted("),
        ("tuning/study.py", "import ", "EDITED = True\nimport "),
    ):
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new, 1))
    said = dvc(repository, "repro", "leaderboard")
    assert "Running stage 'suite'" in said
    assert "Stage 'partition' didn't change" in said
    assert "Running stage 'tune" not in said
    assert "4 cells, 2 done before" in said
    after = records(repository)
    further = after.keys() - before.keys()
    assert {cell.rsplit("-", 1)[0] for cell in further} == {"shout-mean-s0", "boosted-mean-s0"}
    assert len(further) == 2
    assert before.items() <= after.items()
    assert contents(repository, [f"results/tuning-{STUDY}"]) == studied

    listed = json.loads(benchmark(repository, "list", "attacks", "--json"))
    (entry,) = (entry for entry in listed if entry["name"] == "shout")
    assert entry["description"] == "Submit more of what was trained on the backdoor."
    assert entry["facts"]["paper"] == "Bagdasaryan et al. 2018, arXiv 1807.00459"
    board = repository / "results" / "smoke"
    for name in ("leaderboard.json", "leaderboard.md", "leaderboard.html"):
        assert "shout" in (board / name).read_text()
    assert "up to date" in dvc(repository, "status", "leaderboard")


def test_push_and_pull_bring_back_every_byte(repository: Path) -> None:
    outs = ("data/partitioned", "results/smoke/records", "results/smoke/weights")
    dvc(repository, "remote", "add", "--default", "store", str(repository.parent / "store"))
    before = contents(repository, outs)
    figures = {
        name: (repository / "results" / "smoke" / name).read_bytes()
        for name in ("suite.json", "leaderboard.html", "leaderboard.md", "tradeoff.png")
    }
    assert len(before) >= 9 + 3 + 3
    dvc(repository, "push")
    shutil.rmtree(repository / "data")
    shutil.rmtree(repository / "results")
    shutil.rmtree(repository / ".dvc" / "cache")
    dvc(repository, "pull")
    assert contents(repository, outs) == before
    for name, content in figures.items():
        assert (repository / "results" / "smoke" / name).read_bytes() == content
    # And nothing is to be run for it.
    said = dvc(repository, "repro", "leaderboard")
    assert "Running stage 'suite'" not in said
    assert "Running stage 'partition'" not in said


def tuning(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "results" / f"tuning-{STUDY}" / "tuning.json").read_text())
    assert isinstance(found, dict)
    return found


def test_an_experiment_with_more_trials_goes_on(repository: Path) -> None:
    study = tuning(repository)
    assert len(study["trials"]) == 3
    dvc(repository, "exp", "run", "--set-param", "tuning.trials=4", "--name", "more", "tune")
    after = tuning(repository)
    assert after["study"] == study["study"]
    assert after["trials"][:3] == study["trials"]
    assert len(after["trials"]) == 4
