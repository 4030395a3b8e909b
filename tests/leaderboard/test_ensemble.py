"""The worst of a fixed list of attacks, seed by seed."""

import re
from pathlib import Path

import pytest

from benchmark.config.compose import plants_any
from benchmark.config.ensemble import Ensemble, complete
from benchmark.leaderboard.glossary import glossary
from benchmark.leaderboard.tables import defenses
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from tests.support.synthetic import only, record, undefended

PAIRED = """description: two attacks
attacks: [boosted, norm_bounded]
"""


@pytest.fixture
def paired(conf: Path) -> Path:
    folder = conf / "ensemble"
    for path in folder.glob("*.yaml"):
        path.unlink()
    (folder / "paired-1.yaml").write_text(PAIRED)
    return folder


def runs(boosted: list[float], bounded: list[float]):
    found = undefended(seeds=(0, 1))
    for attack, reached in (("none", [0.0] * 2), ("boosted", boosted), ("norm_bounded", bounded)):
        for seed, value in enumerate(reached):
            found.append(record(attack, "norm_clip", seed, metrics={"backdoor_in_sample": value}))
    return found


def test_each_seed_has_its_own_worst_attack(paired: Path):
    section = only(runs([0.1, 0.6], [0.5, 0.2]))
    (row,) = [row for row in section.defense_rows if row.defense == "norm_clip"]
    assert section.ensemble == "paired-1"
    assert row.ensemble
    assert row.ensemble.mean == pytest.approx((0.5 + 0.6) / 2)
    assert row.worst
    assert row.worst.in_sample
    assert row.worst.in_sample.mean == pytest.approx(0.35)
    (mean,) = [row for row in section.defense_rows if row.defense == "mean"]
    assert mean.ensemble is None
    column = next(x for x in defenses(1, section).columns if x.head == "paired-1")
    assert str(column.entry(row).text).startswith("55.0")
    assert any(sentence.startswith("paired-1: in-sample") for sentence in glossary(section))


def test_a_seed_that_is_missing_leaves_no_number(paired: Path):
    section = only(runs([0.1, 0.6], [0.5]))
    (row,) = [row for row in section.defense_rows if row.defense == "norm_clip"]
    assert row.ensemble is None


def test_an_ensemble_counts_where_all_of_it_was_run(paired: Path):
    (paired / "paired-2.yaml").write_text(PAIRED.replace("boosted,", "boosted, pgd,"))
    assert complete(["boosted"]) is None
    found = complete(["none", "norm_bounded", "boosted"])
    assert found
    assert found.name == "paired-1"
    found = complete(["pgd", "norm_bounded", "boosted"])
    assert found
    assert found.name == "paired-2"


def test_a_leaderboard_does_without_an_ensemble_that_is_broken(paired: Path):
    (paired / "paired-3.yaml").write_text(PAIRED.replace("boosted,", "gone,"))
    (paired / "paired-4.yaml").write_text("attacks: 3")
    found = complete(["norm_bounded", "boosted"])
    assert found
    assert found.name == "paired-1"


def test_a_suite_runs_an_ensemble_by_its_name(paired: Path):
    axes = {"attack": ["none", "paired-1"]}
    points = list(Suite("s", "d", [], axes, [0]).points())
    assert points == [["attack=none"], ["attack=boosted"], ["attack=norm_bounded"]]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (PAIRED.replace("boosted", "bosted"), "no attack 'bosted'"),
        ("description: one\nattacks: [boosted]\n", "an ensemble holds two attacks or more"),
        ("attacks: 3\n", "ensemble paired-1"),
    ],
)
def test_what_is_no_ensemble_is_refused_in_a_line(paired: Path, text: str, fault: str):
    (paired / "paired-1.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(fault)):
        Ensemble.read("paired-1")


def test_ours_are_read_and_plant_any_backdoor():
    ours = Ensemble.read("standard-1")
    assert all(plants_any(attack) for attack in ours.attacks)
