"""The worst case over attackers that were tuned, beside the one over fixed attacks."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmark import leaderboard
from benchmark.leaderboard import tuned as tunings
from benchmark.leaderboard.board import Leaderboard
from benchmark.run.record import Record
from benchmark.utils.errors import UserError
from tests.support.searches import search
from tests.support.synthetic import pair, suite, terminal, undefended

CLIP: dict[str, Any] = {"defense_parameters": {"norm_bound": 1.0}}


def runs(**options: Any) -> list[Record]:
    """No defense at 90 %, one bound at 30 % and another at 20 %."""
    made = undefended()
    for bound, value in ((1.0, 0.3), (0.5, 0.2)):
        parameters = {"defense_parameters": {"norm_bound": bound}}
        attacked = {"backdoor_in_sample": value}
        made += pair("norm_clip", attacked=attacked, **parameters, **options)
    return made


def of(records: list[Record], bound: float) -> Record:
    return next(r for r in records if r.config["defense"].get("norm_bound") == bound)


def board(records: list[Record], results: Path) -> Leaderboard:
    return leaderboard.build(records, "default", leaderboard.searches(results))


def ranks(made: Leaderboard) -> list[tuple[int | None, str, bool]]:
    (section,) = made.sections
    return [(row.rank, row.defense, row.tuned is not None) for row in section.defense_rows]


def test_the_stronger_of_both_gives_the_rank(tmp_path: Path) -> None:
    records = runs()
    half, one = "norm_clip (norm_bound=0.5)", "norm_clip (norm_bound=1.0)"
    fixed = [(1, half, False), (2, one, False), (3, "mean", False)]
    assert ranks(board(records, tmp_path)) == fixed
    # 60 % tuned against 20 % fixed: behind the one at 30 % that nobody tuned against.
    path = search(tmp_path, of(records, 0.5))
    assert ranks(board(records, tmp_path)) == [(1, one, False), (2, half, True), (3, "mean", False)]
    # A search that finds less than the fixed attacks reach takes nothing back.
    search(tmp_path, of(records, 0.5), found=(0.1, 0.1, 0.1))
    assert ranks(board(records, tmp_path)) == [(1, half, True), (2, one, False), (3, "mean", False)]
    path.unlink()
    assert ranks(board(records, tmp_path)) == fixed


def test_what_was_found_is_that_of_the_fresh_seeds(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0), trials=12)
    (section,) = board(records, tmp_path).sections
    ((defense, tuned),) = section.tuned
    assert defense == "norm_clip (norm_bound=1.0)"
    assert (tuned.trials, tuned.seeds, tuned.sampler) == (12, 2, "tpe")
    assert tuned.fresh_seeds == [1000, 1001, 1002]
    assert tuned.report == "../tuning-attack-on-it/tuning.html"
    found = tuned.winner
    assert found.attack == "norm_bounded (norm_bound=1.5, rounds=9)"
    assert found.fixed_attack == "boosted"
    assert found.in_sample.mean == pytest.approx(0.6)
    assert found.fixed.mean == pytest.approx(0.3)
    assert found.gain.mean == pytest.approx(0.3)
    # 0.3, 0.2 and 0.4, seed by seed; t(0.975, 2) = 4.303.
    assert found.gain.half_width == pytest.approx(4.303 * 0.1 / 3**0.5, 1e-3)
    assert found.cost.mean == pytest.approx(0.01)
    assert set(shlex.split(found.command)) >= set(found.overrides)


def test_of_several_searches_the_strongest_counts(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0), name="weak", found=(0.4, 0.4, 0.4))
    search(tmp_path, of(records, 1.0), name="strong", found=(0.8, 0.8, 0.8))
    search(tmp_path, of(records, 1.0), name="zero", found=None)
    section = board(records, tmp_path).sections[0]
    ((_, tuned),) = section.tuned
    assert tuned.study == "strong"
    # What it took to find it is not that one search.
    (row,) = (row for row in section.defense_rows if row.tuned)
    assert tunings.budget(row.tuned).endswith("; the most of 3 searches with 90 trials")


def test_a_search_of_other_code_is_marked(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0))
    assert not any(tunings.STALE in text for text in texts(records, tmp_path).values())
    search(tmp_path, of(records, 1.0), code={"attack=boosted": "0" * 64})
    told = texts(records, tmp_path)
    assert tunings.STALE in told["md"]
    assert tunings.STALE in told["html"]
    # Of an attack that was no part of it nothing is known.
    search(tmp_path, of(records, 1.0), code={"attack=sign_flip": "0" * 64})
    assert not any(tunings.STALE in text for text in texts(records, tmp_path).values())


def test_a_search_without_a_trial_is_none(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0), trials=0)
    assert not board(records, tmp_path).sections[0].tuned


@pytest.mark.parametrize(
    "changed",
    [
        {"defense": {"norm_bound": 3.0}},
        {"federation": {"rounds": 77}},
        {"task": {"num_tasks": 77}},
        {"data": {"name": "other"}},
        {"partition": {"users": 77}},
        {"model": {"name": "other"}},
        {"participation": {"frequency": 77}},
    ],
)
def test_another_defense_or_setting_is_another(
    tmp_path: Path, changed: dict[str, dict[str, Any]]
) -> None:
    records = runs()
    path = search(tmp_path, of(records, 1.0))
    assert board(records, tmp_path).sections[0].tuned
    raw = json.loads(path.read_text())
    for group, parameters in changed.items():
        raw["description"]["configuration"][group] |= parameters
    path.write_text(json.dumps(raw))
    assert not board(records, tmp_path).sections[0].tuned


def test_another_data_hash_or_problem_is_another(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0), data="00" * 32)
    assert not board(records, tmp_path).sections[0].tuned
    search(tmp_path, of(records, 1.0), problem="defense")
    assert not board(records, tmp_path).sections[0].tuned


def test_what_changes_no_number_makes_no_other_setting(tmp_path: Path) -> None:
    records = runs(setting={"engine": {"workers": 3}, "federation": {"measured_on": "all"}})
    records = [r for r in records if r.config["defense"]["name"] != "mean"]
    path = search(tmp_path, of(records, 1.0))
    raw = json.loads(path.read_text())
    del raw["description"]["configuration"]["engine"]["workers"]
    path.write_text(json.dumps(raw))
    assert board(records, tmp_path).sections[0].tuned


def texts(records: list[Record], results: Path) -> dict[str, str]:
    made = board(records, results)
    raw = {
        "md": leaderboard.to_markdown(made),
        "html": leaderboard.to_html(made, records),
        "terminal": terminal(made, 170),
    }
    return {name: " ".join(text.split()) for name, text in raw.items()}


def test_every_output_tells_of_it_and_marks_what_is_not_tuned(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0))
    for name, text in texts(records, tmp_path).items():
        plain = text.replace("\\_", "_").replace("\\*", "*").replace("\\(", "(")
        assert "60.0 ± 24.8" in plain, name
        assert "+30.0 ± 24.8" in plain, name
        assert "not tuned" in plain, name
        assert "30 trials" in plain, name
        assert "the stronger of the two worst cases" in plain, name
        assert "is no sign that a search would not get into it" in plain, name
        assert "python -m benchmark run defense=norm_clip" in plain, name
        assert "attack.norm_bound=1.5 seed=1000" in plain, name
    raw = json.loads(leaderboard.to_json(board(records, tmp_path)))
    rows = {row["defense"]: row["tuned"] for row in raw["sections"][0]["defense_rows"]}
    assert rows["mean"] is None
    found = rows["norm_clip (norm_bound=1.0)"]["winner"]
    assert found["in_sample"]["mean"] == 0.6
    assert found["command"].endswith("seed=1000")


def test_a_search_that_found_nothing_says_so(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 1.0), found=None)
    for name, text in texts(records, tmp_path).items():
        assert "none found" in text, name
    search(tmp_path, of(records, 1.0), fixed=None)
    for name, text in texts(records, tmp_path).items():
        assert "60.0 ± 24.8" in text, name


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_terminal_has_room_for_it(tmp_path: Path, width: int) -> None:
    records = suite(rounds=10)
    search(tmp_path, of(records, 1))
    text = terminal(board(records, tmp_path), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["no result of a study"]),
        ("[]", ["no result of a study: must be a mapping, got []"]),
        ('{"schema_version": 99}', ["schema version 99", "reads version 1"]),
        ('{"schema_version": 1}', ["no result of a study", "description"]),
        (
            '{"schema_version": 1, "description": {"problem": "attacker"}}',
            ["study is missing"],
        ),
        ('{"schema_version": NaN}', ["of schema version nan, this program reads version 1"]),
    ],
)
def test_a_damaged_result_is_named(tmp_path: Path, content: str, words: list[str]) -> None:
    path = search(tmp_path, of(runs(), 1.0))
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        leaderboard.searches(tmp_path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_the_budget_counts_pruned_trials_and_says_how_many(tmp_path: Path) -> None:
    records = runs()
    search(tmp_path, of(records, 0.5), pruned=12)
    (section,) = board(records, tmp_path).sections
    row = next(row for row in section.defense_rows if row.tuned)
    assert tunings.budget(row.tuned) == "30 trials (12 pruned) of 2 federations, tpe"
