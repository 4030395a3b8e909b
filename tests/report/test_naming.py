"""What reports call choices and parameters: their yamls' words, or plain ones."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import compose
from benchmark.config.plugins import available
from benchmark.report.naming import in_full, parts, said, share, title
from benchmark.utils.errors import UserError

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def section(group: str, *overrides: str) -> dict[str, Any]:
    chosen: dict[str, Any] = compose(overrides)[group]
    return chosen


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["attack=none"], "no attack"),
        (["attack=boosted", "attack.form=code"], "boosted, code form"),
        (["attack=norm_bounded", "attack.backdoor_batch=batch"], "norm-bounded, small batches"),
        (["defense=mean"], "no defense"),
        (["defense=norm_reject", "defense.norm_bound=1.2345"], "rejection at M = 1.23"),
        (
            ["defense=weak_dp", "defense.norm_bound=5"],
            f"clipping at M = 5, noise {SIGMA} = 0.025 on the average",
        ),
    ],
)
def test_in_full(overrides: list[str], told: str):
    group = overrides[0].partition("=")[0]
    assert in_full(group, section(group, *overrides)) == told


def test_parameters_speak_for_the_choice_that_they_belong_to():
    chosen = {
        "attack": "norm_bounded",
        "attack.backdoor_batch": "full",
        "defense": "weak_dp",
        "defense.noise_std": "0.0447",
        "defense.noise_on": "sum",
    }
    assert parts(chosen, {"attack", "defense"}) == {
        "attack": "norm-bounded attack",
        "defense": "clipping and noise",
    }
    assert parts(chosen, set(chosen)) == {
        "attack": "attack, full batch",
        "defense": f"{SIGMA} = 0.0447 on the sum",
    }
    assert parts({"participation.window": None}, {"participation.window"}) == {}


def test_a_parameter_whose_choice_is_not_known_borrows_a_symbol():
    assert said("defense", "norm_bound", 3.9) == "M = 3.9"
    assert said("participation", "fraction", 0.0333) == "ε = 3.3 %"
    assert said("task", "num_tasks", 1234) == "1234 tasks"
    assert (share(0.0111), share(0.5)) == ("1.1 %", "50 %")


PLAIN = """# Keep the updates that lie closest together.
_target_: benchmark.defenses.norm_clip.NormClip
norm_bound: 3.0
"""
NAMED = """report:
  title: Krum
  symbols: {norm_bound: "radius {}"}
"""


def test_a_plain_choice_declares_nothing(conf: Path):
    (conf / "defense/multi_krum.yaml").write_text(PLAIN)
    assert title("defense", "multi_krum") == "multi krum"
    own = section("defense", "defense=multi_krum")
    assert in_full("defense", own) == "multi krum"
    assert in_full("defense", own | {"norm_bound": 1.0}) == "multi krum, M = 1"
    assert in_full("defense", own | {"trim": 0.25}) == "multi krum, trim = 0.25"


def test_a_choice_brings_its_own_words(conf: Path):
    (conf / "defense/multi_krum.yaml").write_text(PLAIN + NAMED)
    own = section("defense", "defense=multi_krum", "defense.norm_bound=1")
    assert in_full("defense", own) == "Krum, radius 1"
    # A null of which nothing is said leaves no trace.
    assert in_full("defense", own | {"norm_bound": None}) == "Krum"


def test_a_choice_whose_yaml_is_gone_keeps_its_name():
    gone = {"name": "old_rule", "_target_": "nowhere.Old", "trim": 2, "deep": None}
    assert in_full("defense", gone) == "old rule, trim = 2, deep = null"
    assert title("attack", "old_attack") == "old attack"


@pytest.mark.parametrize("group", ["attack", "defense", "participation", "task", "federation"])
def test_what_the_yamls_say_is_of_parameters_that_they_have(group: str):
    for name in available(group):
        assert "{" not in in_full(group, section(group, f"{group}={name}"))


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        ("{titel: Krum}", "report: no key 'titel'; did you mean 'title'?"),
        ("{title: 3}", "report: title must be text, got 3"),
        ("{symbols: {norm_bound: 3}}", "report: symbols.norm_bound must be text or a mapping, got"),
        ("Krum", "report: must be a mapping, got 'Krum'"),
    ],
)
def test_what_is_no_name_is_said_in_a_line(conf: Path, report: str, fault: str):
    (conf / "defense/multi_krum.yaml").write_text(f"{PLAIN}report: {report}\n")
    with pytest.raises(UserError, match=f"defense/multi_krum.yaml: {re.escape(fault)}"):
        title("defense", "multi_krum")
