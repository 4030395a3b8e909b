"""The command line as a person and a script meet it."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import benchmark.__main__ as program
from benchmark.cli import list as listing
from benchmark.cli import parser as cli
from benchmark.config.plugins import available
from benchmark.run.record import Record
from tests.support.running import ROOT, TINY, call, command, environment, files, obstruct, tiny

VERBS = (
    "partition",
    "run",
    "suite",
    "leaderboard",
    "export",
    "reproduce",
    "tune",
    "report",
    "track",
    "list",
    "new",
    "params",
)


def test_run_prints_the_records_path_and_json_the_record(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", *TINY, "attack=boosted"]
    first = call(capsys, *run)
    assert first.status == 0
    path = Path(first.out.removesuffix("\n"))
    assert first.out == f"{path}\n"
    assert path.parent == Path("results/runs/records")
    record = Record.read(path)
    assert record.cell == path.stem
    # Plain lines where there is no terminal: one for each evaluated round, one for the end.
    lines = first.err.splitlines()
    starts = [f"round {round}  main " for round in range(3)] + [f"[1/1] {record.cell}  main "]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert "\x1b" not in first.err

    before = path.stat()
    again = call(capsys, *run, "--json")
    assert again.status == 0
    assert json.loads(again.out) == json.loads(path.read_text(encoding="utf-8"))
    assert "is done already" in again.err
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert call(capsys, *run).out == first.out


def test_json_of_a_run_is_alone_on_stdout(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "run", "--json", *TINY, "--results", "elsewhere")
    (path,) = (workplace / "elsewhere" / "runs" / "records").iterdir()
    assert json.loads(answer.out) == json.loads(path.read_text(encoding="utf-8"))
    assert not (workplace / "results").exists()


def test_options_and_overrides_in_any_order(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {
        call(capsys, *words).out
        for words in (
            ["run", "seed=3", "--results", "r", *TINY],
            ["run", "--results", "r", "seed=3", *TINY],
            ["run", *TINY, "seed=3", "--results=r"],
        )
    }
    assert len(paths) == 1


def test_a_run_that_diverges_is_a_result(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", *TINY, "federation.client_lr=1e30"]
    answer = call(capsys, *run)
    assert answer.status == 0
    assert "diverged in round 0: the aggregated update is not finite; 3 honest" in answer.err
    assert "FAILED" not in answer.err
    record = Record.read(Path(answer.out.strip()))
    assert record.diverged
    again = call(capsys, *run)
    assert (again.status, again.out) == (0, answer.out)
    assert "is done already" in again.err


def test_a_suite_finishes_what_can_be_finished_and_says_what_cannot(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "p.yaml").write_text(
        "suite: {name: smoke, axes: {federation.client_lr: [0.2, 0.1]}, seeds: [0]}"
    )
    obstacle = obstruct(tiny("federation.client_lr=0.2"), workplace / "results" / "smoke")
    words = ["suite", "smoke", *TINY, "--params", "p.yaml", "--workers", "1"]
    answer = call(capsys, *words)
    folder = workplace / "results" / "smoke"
    assert answer.status == 1
    assert answer.out == ""
    assert "suite smoke: 2 cells, 0 done before, 1 at a time" in answer.err
    assert "suite smoke: 1 of 2 cells have a record" in answer.err
    (note,) = (folder / "failures").iterdir()
    failed = note.stem
    assert failed == obstacle.stem
    reason = "IsADirectoryError: [Errno 21] Is a directory"
    assert f"[1/2] {failed}  FAILED: {reason}" in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"fedbackdoor: {failed} failed: {reason}")
    assert last.endswith(f"({note.relative_to(workplace)})")
    assert "Traceback (most recent call last)" in note.read_text()
    assert "Traceback" not in answer.err
    assert "\x1b" not in answer.err

    (record,) = (folder / "records").iterdir()
    before = record.stat()
    board = call(capsys, "leaderboard", "smoke")
    assert board.status == 0
    assert "results/smoke/leaderboard.html" in board.out
    assert "1 cells of smoke have no record" in board.err
    assert {"leaderboard.html", "leaderboard.md", "leaderboard.json"} <= files(folder)

    # Without the bad cell there is nothing to do, and no worker is started for it.
    (workplace / "p.yaml").write_text(
        "suite: {name: smoke, axes: {federation.client_lr: [0.1]}, seeds: [0]}"
    )
    again = call(capsys, *words)
    assert (again.status, again.out) == (0, "")
    assert again.err == "suite smoke: all 1 cells are done\n"
    assert record.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("kind", listing.KINDS)
def test_list_shows_every_choice_with_its_parameters(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = available(listing.KINDS[kind])
    shown = call(capsys, "list", kind)
    assert shown.status == 0
    for name in names:
        assert name in shown.out
    answer = call(capsys, "list", kind, "--json")
    entries = json.loads(answer.out)
    assert [entry["name"] for entry in entries] == names
    for entry in entries:
        assert entry["description"]
        assert "_target_" not in entry["parameters"]


@pytest.mark.parametrize(
    ("kind", "file", "line", "fault"),
    [
        (
            "claims",
            "claim/norms_rarely_above_2",
            "text",
            "claim norms_rarely_above_2: text is miss",
        ),
        ("claims", "claim/norms_rarely_above_2", "source", "source is missing"),
        ("profiles", "profile/quick", "description", "profile quick: description is missing"),
        (
            "reproductions",
            "reproduction/norms",
            "description",
            "suite norms: description is missin",
        ),
        ("tunings", "tuning/smoke", "trials", "tuning smoke: trials is missing"),
    ],
)
def test_list_names_what_a_yaml_lacks(
    conf: Path, capsys: pytest.CaptureFixture[str], kind: str, file: str, line: str, fault: str
) -> None:
    path = conf / f"{file}.yaml"
    kept = [each for each in path.read_text().splitlines() if not each.startswith(f"{line}:")]
    path.write_text("\n".join(kept))
    answer = call(capsys, "list", kind)
    assert answer.status == 0
    assert [fault in said for said in answer.err.splitlines()] == [True]


def test_list_knows_parameters_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    everything = json.loads(call(capsys, "list", "--json").out)
    assert list(everything) == list(listing.KINDS)
    attacks = {entry["name"]: entry for entry in everything["attacks"]}
    assert attacks["norm_bounded"]["parameters"]["rounds"] == 5
    assert attacks["norm_bounded"]["facts"]["knowledge"] == "data"
    assert "1911.07963" in attacks["norm_bounded"]["facts"]["paper"]
    data = {entry["name"]: entry for entry in everything["data"]}
    assert "license" in data["qmnist"]["facts"]
    table = call(capsys, "list", "defenses").out
    assert "defense=NAME" in table
    assert "norm_bound=3.0" in table


def test_help_teaches_and_does_not_wait_for_torch() -> None:
    code = """
import contextlib, io, json, sys
from benchmark.cli.parser import main
texts = {}
for verb in sys.argv[1:]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main([verb, "--help"] if verb != "-" else ["--help"])
        except SystemExit as end:
            assert end.code == 0
    texts[verb] = out.getvalue()
assert "torch" not in sys.modules and "mlflow" not in sys.modules and "hydra" not in sys.modules
print(json.dumps(texts))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "-", *VERBS],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    texts = json.loads(done.stdout)
    for verb in VERBS:
        assert verb in texts["-"]
        assert f"usage: python -m benchmark {verb}" in texts[verb]
    assert "python -m benchmark run attack=boosted" in texts["-"]
    for verb in ("run", "suite", "partition"):
        assert "group=name chooses" in texts[verb]
        assert "attack.norm_bound=3" in texts[verb]
    assert "--json" in texts["run"]
    assert "--workers" in texts["suite"]
    assert "--uri" in texts["track"]


def test_every_verb_has_a_page_and_a_function() -> None:
    (choices,) = (a.choices for a in cli._parser()._actions if a.dest == "verb")
    assert choices is not None
    assert tuple(choices) == VERBS
    assert all(callable(import_module(f"benchmark.cli.{verb}").main) for verb in VERBS)


def test_what_trains_nothing_waits_for_no_torch(tmp_path: Path) -> None:
    answers = {
        "liste": 2,
        "list suites": 0,
        "list attack": 2,
        "run attack=boostd": 2,
        "run seeds=1": 2,
        "partition data.scheme=1": 2,
        "suite nosuch": 2,
        "suite smoke --workers 0": 2,
        "suite smoke defense=men": 2,
        "leaderboard smoke": 2,
        "params nosuch": 2,
    }
    program = (
        "import sys; from benchmark.cli.parser import main\n"
        "for words in sys.argv[1:]:\n"
        "    status = main(words.split())\n"
        "    heavy = {'torch', 'pytorch_lightning', 'mlflow'} & sys.modules.keys()\n"
        "    print('answer', status, *heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *answers],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("answer")]
    assert said == [f"answer {status}" for status in answers.values()], done.stderr


def test_what_is_done_is_said_without_torch_and_what_is_not_is_none_of_it(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "run", *TINY, "federation.client_lr=1").status == 0
    program = (
        "import sys; from benchmark.cli.parser import main\n"
        "status = main(sys.argv[1:])\n"
        "print({'torch', 'pytorch_lightning', 'mlflow'} & sys.modules.keys())\n"
    )
    # A whole number where a rate is wanted, as it was written the first time.
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *TINY, "federation.client_lr=1"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "is done already" in done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    for other in ("federation.client_lr=2", "federation.rounds=2", "federation.replacement=true"):
        assert "is done already" not in call(capsys, "run", *TINY, other).err
    assert "expected true or false" in call(capsys, "run", *TINY, "federation.replacement=0").fault


def test_the_entry_point_is_the_same_program() -> None:
    (script,) = entry_points(group="console_scripts", name="fedbackdoor")
    assert script.load() is program.main


def test_partition_prints_the_folder_and_replaces_only_partitions(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "partition", "data=digits5k")
    assert answer.status == 0
    folder = Path(answer.out.strip())
    assert {"manifest.json", "card.png", "configuration.json"} <= files(folder)

    (workplace / "mine").mkdir()
    (workplace / "mine" / "thesis.tex").write_text("years of work")
    refused = call(capsys, "partition", "--out", "mine")
    assert "mine: holds something else than a partition" in refused.fault
    assert (workplace / "mine" / "thesis.tex").read_text() == "years of work"
    assert "afile: holds" in call(capsys, "partition", "--out", _file(workplace / "afile")).fault

    arrays = {name: (folder / name).read_bytes() for name in files(folder)}
    (folder / "manifest.json").write_text("{}")
    assert call(capsys, "partition", "--out", folder).status == 0
    assert {name: (folder / name).read_bytes() for name in files(folder)} == arrays


def _file(path: Path) -> str:
    path.write_text("text")
    return path.name


def test_a_command_in_its_own_process(workplace: Path) -> None:
    answer = command("run", *TINY, "--json", cwd=workplace)
    assert answer.status == 0
    assert json.loads(answer.out)["overrides"] == list(TINY)
    # Nothing of what libraries have to say on their own.
    assert answer.err.count("\n") == 4


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_is_no_error(workplace: Path) -> None:
    program = f"{sys.executable} -m benchmark list --json | head -c 20"
    done = subprocess.run(
        ["bash", "-c", program], env=environment(), cwd=workplace, capture_output=True, text=True
    )
    assert len(done.stdout) == 20
    assert done.stderr == ""


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    from benchmark import __version__

    assert done.stdout == f"fedbackdoor {__version__}\n"
