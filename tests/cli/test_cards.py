"""What a defense's card says, in ``list`` and on the committed page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.parser import main
from benchmark.config.compose import read_yaml
from benchmark.config.plugins import available
from benchmark.config.types import target_class

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def cards(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["list", "defenses", "--json"]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}


def test_every_defense_of_ours_has_a_card_that_its_class_agrees_with(
    cards: dict[str, dict[str, Any]],
) -> None:
    assert sorted(cards) == available("defense")
    for name, entry in cards.items():
        facts = entry["facts"]
        assert {"paper", "needs", "smallest", "cost", "weakness"} <= set(facts), name
        of = target_class("defense", {**read_yaml("defense", name), "name": name})
        formula = re.fullmatch(r"(?:(\d)f \+ )?(\d+)", facts["smallest"])
        assert formula, name
        factor, fixed = int(formula[1] or 0), int(formula[2])
        assert [of.min_clients(f) for f in range(6)] == [factor * f + fixed for f in range(6)], name
        assert ("root data" in facts["needs"]) == of.needs_root_data, name


def test_a_reading_is_what_the_yaml_says_beside_a_choice(cards: dict[str, dict[str, Any]]) -> None:
    assert cards["bulyan"]["readings"]["selected"] == "n-2f or n-2f-2"
    assert cards["flame"]["readings"]["on"]
    assert "assumed_compromised" not in cards["bulyan"]["readings"]


@pytest.mark.parametrize(
    ("kind", "page"), [("defenses", "cards.md"), ("attacks", "attack_cards.md")]
)
def test_the_committed_page_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], kind: str, page: str
) -> None:
    assert main(["list", kind, "--markdown"]) == 0
    assert capsys.readouterr().out == (DOCS / page).read_text(encoding="utf-8")


def test_an_attack_says_what_it_wants_and_what_that_costs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "attacks", "--json"]) == 0
    for entry in json.loads(capsys.readouterr().out):
        of = target_class("attack", {**read_yaml("attack", entry["name"]), "name": entry["name"]})
        assert entry["facts"]["goal"] == of.goal
        assert entry["facts"]["cost"] == of.cost
    assert main(["list", "attacks"]) == 0
    assert "untargeted" in capsys.readouterr().out
