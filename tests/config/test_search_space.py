"""Search spaces: what the yamls say, what is refused, and what of them a trial is asked."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.config import compose as config
from benchmark.config import search_space as space
from benchmark.config.compose import REPORT, SEARCH, compose, read_yaml
from benchmark.config.plugins import available
from benchmark.config.search_space import Choices, Range, Space
from benchmark.run.cell import Cell
from benchmark.utils.errors import UserError
from tests.support.running import TINY, call

GROUPS = ("attack", "defense")
KEYS = {SEARCH, REPORT}
EVERYTHING = [(group, name) for group in GROUPS for name in available(group)]


class Wishes:
    """A trial that suggests what it is told to, else the first choice or the low end."""

    def __init__(self, **wishes: Any):
        self.wishes, self.asked = wishes, list[str]()

    def _answer(self, name: str, otherwise: Any) -> Any:
        self.asked.append(name)
        return self.wishes.get(name.replace(".", "__"), otherwise)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        answer = self._answer(name, choices[0])
        assert answer in choices
        return answer

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        assert type(low) is type(high) is int
        return self._answer(name, low)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        assert type(low) is type(high) is float
        return self._answer(name, low)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize(("group", "name"), EVERYTHING)
def test_every_attack_and_defense_declares_a_space_that_samples(group: str, name: str) -> None:
    assert SEARCH in read_yaml(group, name)
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made = Space.of(group, [name])
    declared = set(read_yaml(group, name)[SEARCH])
    met: set[str] = set()
    for _ in range(12):
        trial = study.ask()
        resolved = compose(made.suggest(trial))[group]
        # What was suggested is what the configuration then says, no digit lost.
        assert made.point(resolved) == trial.params
        met |= {key.rpartition(".")[2] for key in trial.params} - {group}
    assert met == declared


# What a yaml takes from the defense's, it takes from one that has it.
BESIDE = {"attack": "defense=norm_clip", "defense": "attack=norm_bounded"}


@pytest.mark.parametrize(("group", "name"), [x for x in EVERYTHING if x[0] in BESIDE])
def test_the_settings_of_the_yamls_lie_in_their_own_spaces(group: str, name: str) -> None:
    resolved = compose([BESIDE[group], f"{group}={name}"])
    point = Space.of(group, [name]).point(resolved[group])
    assert point is not None
    assert point[group] == name


def test_a_space_and_names_are_no_part_of_a_configuration(workplace: Path, conf: Path) -> None:
    cells = [[f"{group}={name}"] for group, name in EVERYTHING]
    before = [(Cell.of([*TINY, *chosen]).id, compose(chosen)) for chosen in cells]
    for group, name in EVERYTHING:
        edit(conf / group / f"{name}.yaml", lambda content: [content.pop(key) for key in KEYS])
    config._composed.cache_clear()
    config._by_hydra.cache_clear()
    assert KEYS.isdisjoint(read_yaml("attack", "boosted"))
    after = [(Cell.of([*TINY, *chosen]).id, compose(chosen)) for chosen in cells]
    assert after == before
    for key in KEYS:
        with pytest.raises(UserError, match=f"no key '{key}' in attack=boosted"):
            compose(["attack=boosted", f"attack.{key}=1"])


def test_a_family_is_chosen_and_only_its_own_parameters_are_asked() -> None:
    made = Space.of("attack", ["boosted", "norm_bounded"])
    trial = Wishes(attack="norm_bounded", attack__norm_bounded__norm_bound=0.1 + 0.2)
    assert made.suggest(trial) == [
        "attack=norm_bounded",
        "attack.norm_bound=0.30000000000000004",
        "attack.rounds=1",
        "attack.backdoor_batch=full",
        "attack.local_epochs=null",
        "attack.backdoor_epochs=1",
    ]
    assert trial.asked == [
        "attack",
        "attack.norm_bounded.norm_bound",
        "attack.norm_bounded.rounds",
        "attack.norm_bounded.backdoor_batch",
        "attack.norm_bounded.local_epochs",
        "attack.norm_bounded.backdoor_epochs",
    ]


def test_a_condition_holds_a_parameter_back() -> None:
    made = Space.of("attack", ["boosted"])
    trial = Wishes()
    paper = ["attack.form=paper", "attack.epochs=null", "attack.copies=1"]
    assert made.suggest(trial) == ["attack=boosted", *paper]
    assert "attack.boosted.backdoor_batch" not in trial.asked
    code = made.suggest(Wishes(attack__boosted__form="code"))
    assert code[1:] == ["attack.form=code", "attack.epochs=null", "attack.backdoor_batch=full"]
    batch = compose(["attack=boosted", "attack.backdoor_batch=batch"])["attack"]
    assert "attack.boosted.backdoor_batch" not in made.point(batch)


def test_a_condition_on_a_parameter_that_is_held_back_does_not_hold(conf: Path) -> None:
    search = {
        "form": ["paper", "code"],
        "backdoor_batch": {"choices": ["full", "batch"], "when": {"form": "code"}},
        "epochs": {"low": 1, "high": 3, "when": {"backdoor_batch": "full"}},
    }
    edit(conf / "attack/boosted.yaml", lambda content: content.update(search=search))
    made = Space.of("attack", ["boosted"])
    assert made.suggest(Wishes()) == ["attack=boosted", "attack.form=paper"]
    assert "attack.epochs=1" in made.suggest(Wishes(attack__boosted__form="code"))


def test_kinds_follow_the_constructor() -> None:
    searched = space.read("attack", "norm_bounded")
    assert searched["norm_bound"] == Range(0.05, 50.0, True, {})
    assert searched["rounds"] == Range(1, 10, False, {})
    assert isinstance(searched["rounds"].low, int)
    assert searched["backdoor_batch"] == Choices(("full", "batch"), {})
    outside = compose(["attack=norm_bounded", "attack.norm_bound=51"])["attack"]
    assert Space.of("attack", ["norm_bounded"]).point(outside) is None
    assert 5 in searched["rounds"]
    assert 5.0 not in searched["rounds"]
    assert True not in space.read("attack", "boosted")["epochs"]


def test_no_search_is_nothing_to_search(conf: Path) -> None:
    edit(conf / "attack/boosted.yaml", lambda content: content.pop(SEARCH))
    assert Space.of("attack", ["boosted"]).suggest(Wishes()) == ["attack=boosted"]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("all", ["search must map parameters", "'all'"]),
        ({"norm_bond": [1]}, ["no parameter 'norm_bond'", "'norm_bound'", "rounds"]),
        ({"norm_bound": 3}, ["search.norm_bound: expected {low", "3"]),
        ({"norm_bound": {"lo": 1, "high": 2}}, ["no key 'lo'", "'low'", "high, log, low, when"]),
        ({"norm_bound": {"low": 1}}, ["needs low and high, high is missing"]),
        ({"norm_bound": {"low": 2, "high": 2}}, ["empty", "low 2.0, high 2.0"]),
        ({"norm_bound": {"low": 3, "high": 2}}, ["empty", "low 3.0, high 2.0"]),
        ({"norm_bound": {"low": 3, "high": float("inf")}}, ["endless"]),
        ({"norm_bound": {"low": "a", "high": 2}}, ["norm_bound.low: expected a number, got 'a'"]),
        ({"rounds": {"low": 0.5, "high": 2}}, ["rounds.low: expected a whole number, got 0.5"]),
        ({"norm_bound": {"low": 0, "high": 2, "log": True}}, ["log needs low above 0, got 0.0"]),
        ({"norm_bound": {"low": 1, "high": 2, "log": 10}}, ["log: expected true or false, got 10"]),
        ({"norm_bound": {"low": -1, "high": 2}}, ["norm_bound must be positive", "-1.0"]),
        ({"rounds": {"low": 0, "high": 2}}, ["rounds must be at least 1, got 0"]),
        ({"backdoor_batch": {"low": 0, "high": 2}}, ["is no number", "a list of choices"]),
        ({"backdoor_batch": ["half"]}, ["backdoor_batch: expected one of full, batch, got 'half'"]),
        ({"backdoor_batch": []}, ["at least one value"]),
        ({"backdoor_batch": {"choices": "full"}}, ["choices must be a list", "'full'"]),
        ({"rounds": [1, 2, 1]}, ["1 stands there twice"]),
        ({"rounds": {"choices": [1], "low": 2}}, ["no key 'low'", "choices, when"]),
        ({"rounds": {"choices": [1], "when": "x"}}, ["when: expected {other_parameter: value}"]),
        (
            {"rounds": {"choices": [1], "when": {"form": "code"}}},
            ["search.rounds.when", "no parameter with choices above it 'form'", "it has none"],
        ),
        (
            {
                "backdoor_batch": ["full", "batch"],
                "rounds": {"low": 1, "high": 2, "when": {"backdoor_batch": "half"}},
            },
            ["search.rounds.when", "no choice 'half'", "valid: batch, full"],
        ),
        (
            {
                "rounds": {"low": 1, "high": 2, "when": {"backdoor_batch": "full"}},
                "backdoor_batch": ["full", "batch"],
            },
            ["search.rounds.when", "above it 'backdoor_batch'"],
        ),
    ],
)
def test_what_is_no_space_is_named(conf: Path, search: Any, words: list[str]) -> None:
    edit(conf / "attack/norm_bounded.yaml", lambda content: content.update(search=search))
    with pytest.raises(UserError) as caught:
        Space.of("attack", ["boosted", "norm_bounded"])
    message = str(caught.value)
    assert "\n" not in message
    for word in ["conf/attack/norm_bounded.yaml: search", *words]:
        assert word in message


def test_list_shows_where_the_tuner_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    entries = {e["name"]: e for e in json.loads(call(capsys, "list", "attacks", "--json").out)}
    assert entries["norm_bounded"]["search"]["norm_bound"] == "0.05 to 50.0, log"
    assert entries["boosted"]["search"]["backdoor_batch"] == "full, batch when form=code"
    assert SEARCH not in entries["boosted"]["parameters"]
    assert "the tuner looks in" in call(capsys, "list", "attacks").out
    assert "the tuner looks in" not in call(capsys, "list", "models").out
