"""The attacker's study on real federations, from the command line to its report."""

import json
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmark import config
from benchmark.cell import Cell
from benchmark.errors import UserError
from benchmark.leaderboard.statistics import Estimate
from benchmark.record import Record
from benchmark.tuning.attacker import TOLERANCE, UNATTACKED, Attacker, Score
from benchmark.tuning.problem import Outcome, Tried
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation, best, reevaluate
from benchmark.tuning.report import Report
from tests.running import TINY, call, files

# Nobody learns enough in three rounds for an attack to cost main accuracy.
HARMLESS = ("defense=norm_clip", "defense.norm_bound=0.1", "federation.client_lr=0.001")
STUDY = Path("results/tuning-attack-on-norm_clip")


def attacker(*overrides: str, watch: Any = lambda event: None) -> Attacker:
    return Attacker.against([*TINY, *overrides], [0, 1], Path("results"), watch)


def record(*overrides: str) -> Record:
    cell = Cell.of([*TINY, *overrides])
    return Record.read(cell.record_path(Path("results")))


def test_the_objective_and_the_constraint_are_those_of_the_records(workplace: Path) -> None:
    defense = ("defense=norm_clip", "defense.norm_bound=0.5")
    problem, attack = attacker(*defense), ["attack=boosted", "attack.epochs=2"]
    outcome = problem.evaluate(attack)
    attacked, honest = (
        [record(*defense, *chosen, f"seed={seed}").summary for seed in (0, 1)]
        for chosen in (attack, UNATTACKED)
    )

    def over_seeds(summaries: Any, metric: str) -> float:
        return statistics.fmean(summary[metric].last_fifth for summary in summaries)

    main = over_seeds(attacked, "main_accuracy")
    cost = over_seeds(honest, "main_accuracy") - main
    assert outcome.value == pytest.approx(over_seeds(attacked, "backdoor_in_sample"))
    assert outcome.constraints == {"main_accuracy": pytest.approx(cost - 0.02)}
    assert outcome.facts == {"main_accuracy": pytest.approx(main), "diverged": []}
    assert cost > TOLERANCE
    assert len(list(Path("results/records").iterdir())) == 4


def test_an_attack_that_breaks_the_model_is_worth_nothing(workplace: Path) -> None:
    failed: list[str] = []
    problem = attacker(
        "federation.client_lr=1e30",
        watch=lambda event: failed.append(getattr(event, "reason", "")),
    )
    score = problem.score(["attack=boosted"], [0])
    assert score == Score({0: 0.0}, {0: 0.0}, [0])
    assert "not finite" in failed[-1]


def test_the_space_is_of_attacks_that_compromise_somebody() -> None:
    problem = attacker()
    assert set(problem.space.families) == set(config.names("attack")) - {"none"}
    assert problem.known().keys() == problem.space.families.keys()
    # What stands outside of the ranges is no setting of the space.
    assert "norm_bounded" not in attacker("defense=norm_clip", "defense.norm_bound=99").known()


def test_what_makes_it_another_study(workplace: Path) -> None:
    same = attacker(*HARMLESS).describe()
    assert json.loads(json.dumps(same))["configuration"]["defense"]["norm_bound"] == 0.1
    for change in ("engine.workers=2", "federation.checkpoint_every=2", "tracking=mlflow"):
        assert attacker(*HARMLESS, change).describe() == same
    for change in ("defense.norm_bound=1", "federation.rounds=4", "task.num_tasks=3"):
        assert attacker(*HARMLESS, change).describe() != same
    assert Attacker.against([*TINY, *HARMLESS], [0, 1, 2], Path(), print).describe() != same


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("attack=boosted", ["'attack=boosted': the attack is what is tuned"]),
        ("attack.epochs=2", ["'attack.epochs=2': the attack is what is tuned"]),
        ("seed=1", ["'seed=1'", "--seeds"]),
    ],
)
def test_what_the_study_chooses_is_not_given(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        attacker(override)
    for word in words:
        assert word in str(caught.value)


def tried(number: int, value: float, cost: float, name: str, known: str | None = None) -> Tried:
    return Tried(number, (f"attack={name}",), Outcome(value, {"main_accuracy": cost}, {}), known)


def test_the_best_are_feasible_and_different() -> None:
    trials = [
        tried(0, 0.5, 0.0, "a"),
        tried(1, 0.9, 0.001, "b"),
        tried(2, 0.7, -0.1, "c"),
        tried(3, 0.7, -0.1, "d"),
        tried(4, 0.7, -0.1, "c"),
        tried(5, 0.1, -0.1, "e"),
    ]
    assert [t.number for t in best(trials, 3)] == [2, 3, 0]
    assert [t.number for t in best(trials, 9)] == [2, 3, 0, 5]
    assert best(trials[1:2], 3) == []


def again(
    name: str, backdoor: list[float], cost: list[float], trial: int | None = None
) -> Reevaluated:
    by_seed = [dict(zip((1000, 1001, 1002), x, strict=True)) for x in (backdoor, cost)]
    return Reevaluated((f"attack={name}",), trial, 1.0, *by_seed)


FREE, DEAR = [0.0, 0.01, -0.01], [0.05, 0.02, 0.01]


def test_the_winner_is_found_on_the_tuning_seeds_and_the_fixed_on_the_fresh() -> None:
    first = again("found-first", [1.0, 1.0, 1.0], DEAR, 4)
    second = again("found-second", [0.5, 0.7, 0.6], FREE, 2)
    third = again("found-third", [0.9, 0.9, 0.9], FREE, 7)
    fixed = [again("x", [0.1, 0.1, 0.1], FREE), again("y", [0.2, 0.5, 0.2], FREE)]
    result = Reevaluation([1000, 1001, 1002], [*fixed, again("z", [1, 1, 1], DEAR)], [])
    assert result.winner is None
    assert result.gain() is None
    result = Reevaluation(result.seeds, result.fixed, [first, second, third])
    assert result.winner is second
    assert result.strongest_fixed is fixed[1]
    # 0.3, 0.2 and 0.4, seed by seed; t(0.975, 2) = 4.303.
    assert result.gain() == Estimate(
        pytest.approx(0.3), pytest.approx(4.303 * 0.1 / 3**0.5, 1e-3), 3
    )


def report(candidates: list[Reevaluated], fixed: list[Reevaluated]) -> Report:
    trials = [tried(n, 0.1 * n, 0.0, f"a{n}") for n in range(5)]
    described = {"sampler": "tpe", "seeds": [0, 1]}
    result = Reevaluation([1000, 1001, 1002], fixed, candidates)
    return Report(
        "s", "sqlite:///t.db", ("defense=mean", "data.path=a b"), described, trials, result
    )


def test_a_report_never_gives_the_maximum_as_the_result() -> None:
    winner = again("tuned", [0.5, 0.7, 0.6], FREE, 2)
    made = report([winner], [again("fixed", [0.2, 0.5, 0.2], FREE)])
    assert made.verdict() == (
        "The tuned attack reaches 60.0 ± 24.8 %, "
        "+30.0 ± 24.8 points beside the strongest fixed attack."
    )
    text = made.markdown()
    assert "5 trials (tpe) of 2 federations each" in text
    assert "| **trial 2**: `attack=tuned` | 100.0 | 60.0 ± 24.8 | +0.0 ± 2.5 | yes |" in text
    assert "| fixed: `attack=fixed` | 100.0 | 30.0 ± 43.0 | +0.0 ± 2.5 | yes |" in text
    command = "python -m benchmark run defense=mean 'data.path=a b' attack=tuned seed=1000"
    assert command in text
    assert made.plain()["command"] == command
    assert json.loads(json.dumps(made.plain()))["gain"]["n"] == 3


def test_a_report_says_that_nothing_was_found() -> None:
    fixed = [again("fixed", [0.2, 0.5, 0.2], DEAR)]
    assert "No trial kept main accuracy" in report([], fixed).markdown()
    dear = report([again("tuned", [1, 1, 1], DEAR, 1)], fixed)
    assert "None of the best 1 trials kept main accuracy on fresh seeds" in dear.markdown()
    assert dear.command is None
    alone = report([again("tuned", [1, 1, 1], FREE, 1)], fixed)
    assert "no fixed attack keeps main accuracy" in alone.markdown()


def test_fresh_seeds_are_fresh(workplace: Path) -> None:
    problem = attacker(*HARMLESS)
    with pytest.raises(AssertionError):
        reevaluate(problem, [], 3, [1, 2, 3])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, partitioned: Path) -> Path:
    """A working directory in which a study of four trials was made."""
    import shutil

    from benchmark.cli import main

    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(partitioned, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["tune", *TINY, *HARMLESS, "--trials", "4", "--best", "2"]) == 0
    return folder


@pytest.fixture
def place(workplace: Path, tuned: Path) -> Path:
    import shutil

    shutil.copytree(tuned / "results", workplace / "results")
    return workplace


def test_a_study_from_the_command_line(place: Path) -> None:
    found = json.loads((STUDY / "tuning.json").read_text())
    assert found["study"] == "attack-on-norm_clip"
    assert found["storage"] == "sqlite:///results/tuning.db"
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2, 3]
    assert [trial["known"] for trial in found["trials"]] == ["boosted", "norm_bounded", None, None]
    assert all(trial["feasible"] for trial in found["trials"])
    assert found["fresh_seeds"] == [1000, 1001, 1002]
    assert found["description"]["seeds"] == [0, 1]
    assert len(found["candidates"]) == 2
    assert [f["overrides"] for f in found["fixed"]] == [["attack=boosted"], ["attack=norm_bounded"]]
    assert found["winner"]["overrides"] == found["candidates"][0]["overrides"]
    values = {t["number"]: t["outcome"]["value"] for t in found["trials"]}
    assert found["winner"]["found"] == values[found["winner"]["trial"]] == max(values.values())
    assert (STUDY / "tuning.md").read_text().startswith("# Tuned attacker: attack-on-norm_clip\n")
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


def test_the_same_command_does_nothing_and_more_trials_go_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("tune", *TINY, *HARMLESS, "--best", "2")
    before = {p: p.stat().st_mtime_ns for p in (STUDY / "records").iterdir()}
    content = (STUDY / "tuning.json").read_text()
    answer = call(capsys, *command, "--trials", "4")
    assert answer.status == 0
    paths = [f"{STUDY}/tuning.json", f"{STUDY}/tuning.md"]
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
        (["task.num_tasks=101"], ["num_tasks must be 1 to 100", "got 101"]),
        (["tracking=mlflow", "tracking.uri=ftp://x"], ["no scheme ftp"]),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    before = files(workplace)
    fault = call(capsys, "tune", *TINY, *arguments).fault
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
    ],
)
def test_another_study_is_refused_and_this_one_is_as_it_was(
    place: Path, capsys: pytest.CaptureFixture[str], change: list[str], words: list[str]
) -> None:
    before = {name: (place / name).read_bytes() for name in files(place)}
    fault = call(capsys, "tune", *TINY, *HARMLESS, "--trials", "9", *change).fault
    for word in ["study attack-on-norm_clip", *words, "choose another --name"]:
        assert word in fault
    assert {name: (place / name).read_bytes() for name in files(place)} == before


def test_a_fixed_attack_outside_of_the_ranges_is_no_trial_but_is_judged(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = ("defense=norm_clip", "defense.norm_bound=0.01", "federation.client_lr=0.001")
    answer = call(capsys, "tune", *TINY, *bound, "--trials", "1", "--name", "far")
    assert answer.status == 0
    assert "attack=norm_bounded lies outside of its own search:" in answer.err
    found = json.loads(Path("results/tuning-far/tuning.json").read_text())
    assert [trial["known"] for trial in found["trials"]] == ["boosted"]
    assert [f["found"] is None for f in found["fixed"]] == [False, True]
    assert all(len(f["backdoor"]) == 3 for f in found["fixed"])
