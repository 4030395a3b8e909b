"""An attack, a defense and a suite of tomorrow: in every report by their own files alone."""

from pathlib import Path

import pytest

from benchmark import leaderboard
from benchmark.config.plugins import available
from benchmark.reproduction import output
from benchmark.reproduction.chapters import chapter, ordered
from benchmark.reproduction.lines import labeled
from benchmark.reproduction.threat import threats
from tests.support.evidence import evidence

ATTACK = """# Tomorrow's attack.
_target_: benchmark.attacks.boosted.Boosted
form: paper
epochs: null
backdoor_batch: full
copies: 1
report: {title: magic attack, symbols: {copies: "κ = {}"}}
"""
DEFENSE = """# Tomorrow's defense, which says nothing of itself.
_target_: benchmark.defenses.norm_clip.NormClip
norm_bound: 3.0
"""
SUITE = """description: tomorrow's attack on tomorrow's defense
report: {title: Tomorrow, about: what comes next, place: 2.5}
overrides: [defense=far_sight]
axes:
  attack:
    - magic: {copies: [1, 5]}
"""


@pytest.fixture
def tomorrow(conf: Path) -> Path:
    for file, text in {
        "attack/magic": ATTACK,
        "defense/far_sight": DEFENSE,
        "reproduction/next": SUITE,
    }.items():
        (conf / f"{file}.yaml").write_text(text)
    return conf


def test_a_plug_in_is_in_the_reproductions_report(tomorrow: Path, tmp_path: Path):
    found = evidence(suites=["next", "fig3_tasks", "fig2_norm_bounded"])
    assert [line.name for line in labeled(found, "next")] == ["κ = 1", "κ = 5"]
    told = [(t.defense, t.attack) for t in threats(found) if t.attack.startswith("magic")]
    assert told == [("far sight", "magic"), ("far sight", "magic, κ = 5")]
    output.write(found, tmp_path / "out")
    markdown = (tmp_path / "out" / "reproduction.md").read_text()
    chapters = [line for line in markdown.splitlines() if line.startswith("## ")]
    place = chapters.index("## Tomorrow: what comes next")
    assert chapters[place - 1].startswith("## Figure 2")
    assert chapters[place + 1].startswith("## Figure 3")
    assert "| far sight | magic, κ = 5 | fixed frequency |" in markdown
    assert (tmp_path / "out" / "reproduction" / "next.png").exists()


def test_a_plug_in_is_on_the_leaderboard(tomorrow: Path):
    found = evidence(suites=["next"])
    built = leaderboard.build(list(found.records.values()), "next")
    cells = {(c.attack, c.defense) for section in built.sections for c in section.cells if c.runs}
    assert {("magic (copies=1)", "far_sight"), ("magic (copies=5)", "far_sight")} <= cells


def test_records_outlive_the_files_that_they_were_made_from(tomorrow: Path, tmp_path: Path):
    found = evidence(suites=["next"])
    for file in ("attack/magic", "defense/far_sight", "reproduction/next"):
        (tomorrow / f"{file}.yaml").unlink()
    output.write(found, tmp_path / "out")
    markdown = (tmp_path / "out" / "reproduction.md").read_text()
    assert "## Next" in markdown
    assert "| far sight, M = 3 | magic, paper form, epochs = null, " in markdown


def test_a_suite_that_says_nothing_comes_last(tomorrow: Path):
    (tomorrow / "reproduction/a_first.yaml").write_text(SUITE.replace("report:", "# "))
    suites = ordered([*available("reproduction"), "z_gone"])
    assert suites[:3] == ["fig1_participation", "fig2_norm_bounded", "next"]
    assert suites[-3:] == ["norms", "a_first", "z_gone"]
    assert (chapter("a_first").title, chapter("z_gone").title) == ("A first", "Z gone")
