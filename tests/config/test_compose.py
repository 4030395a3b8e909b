"""From ``conf/`` and overrides to a checked configuration and the objects it names."""

from typing import Any

import pytest
from hydra.utils import get_class

from benchmark.cli import list as listing
from benchmark.config import plugins, types
from benchmark.config.compose import apart, compose
from benchmark.config.overrides import GROUPS
from benchmark.config.plugins import available
from benchmark.run.assembly import build, make, refusals
from benchmark.run.suite import Suite
from benchmark.testing.toys import make_dataset
from benchmark.utils.errors import UserError

SMALL = ["data=digits5k", "task.num_tasks=2", "federation.clients_per_round=3"]
EVERY_YAML = [(group, name) for group in GROUPS for name in available(group)]


def fault(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose(overrides)
    return str(caught.value)


def test_every_folder_of_conf_is_a_group_and_none_is_empty() -> None:
    folders = {path.name for path in plugins.CONF.iterdir() if path.is_dir()}
    assert folders == {*listing.KINDS.values(), "engine", "tracking"}
    assert all(available(group) for group in folders)


@pytest.mark.parametrize(("group", "name"), EVERY_YAML)
def test_every_yaml_composes_and_builds(group: str, name: str) -> None:
    # data first: it chooses a partition and a federation, unless one is asked for.
    chosen = [] if group == "data" else SMALL[:1]
    # Rules have a smallest cohort, and some need data of the server's own.
    needed = ["federation.clients_per_round=8", "federation.root_images=20"]
    enough = needed if group == "defense" else []
    # A task need not know how many users it is about.
    small = [SMALL[2]] if name == "edge_case" else SMALL[1:]
    # Some attacks learn a trigger, or plant parts of one.
    learned = {"a3fl": ["task=learned_patch"], "iba": ["task=learned_noise"], "dba": ["task=dba"]}
    wanted = learned.get(name, [])
    resolved = compose([*chosen, *wanted, *small, *enough, f"{group}={name}"])
    assert resolved[group]["name"] == name
    expected = get_class(resolved[group]["_target_"])
    if group in ("data", "partition", "tracking"):
        made = make(group, resolved[group])
    else:
        federation = build(resolved, make_dataset([8] * 20))
        made = {
            "model": federation.client.model,
            "federation": federation.protocol,
        }.get(group) or getattr(federation, group)
    assert type(made) is expected


def test_where_cells_run_is_no_part_of_them() -> None:
    chosen = ["executor=local", "seed=1", "attack=boosted"]
    section, left = apart("executor", "local", chosen)
    assert section["name"] == "local"
    assert left == chosen[1:]
    assert apart("executor", "local", left) == (section, left)


def test_values_arrive_at_the_parts() -> None:
    overrides = ["attack=norm_bounded", "attack.norm_bound=2", "defense=norm_clip"]
    values = ["defense.norm_bound=0.5", "federation.server_lr=0.25", "participation.frequency=4"]
    resolved = compose([*SMALL, *overrides, *values, "seed=9"])
    federation = build(resolved, make_dataset([8] * 20))
    assert federation.attack.norm_bound == 2
    assert federation.defense.before[0].norm_bound == 0.5
    assert federation.protocol.server_lr == 0.25
    assert federation.participation.frequency == 4
    assert federation.task.num_tasks == 2
    assert federation.seed == 9


@pytest.mark.parametrize("name", available("suite"))
def test_every_cell_of_every_suite_composes(name: str) -> None:
    suite = Suite.read(name)
    cells = list(suite.grid())
    assert cells
    for overrides in cells:
        compose(overrides)


def test_every_parameter_of_conf_has_a_type_that_values_can_be_checked_against() -> None:
    for group, name in EVERY_YAML:
        chosen = [] if group == "data" else SMALL[:1]
        section = compose([*chosen, f"{group}={name}"])[group]
        for key in section.keys() - {"name", "_target_"}:
            with pytest.raises(UserError, match=f"{group}.{key}: expected ") as caught:
                types.checked(group, {**section, key: object()})
            assert "_empty" not in str(caught.value)


def test_a_configuration_is_plain_and_its_own() -> None:
    first = compose(["attack=boosted"])
    assert type(first) is dict
    assert type(first["attack"]) is dict
    first["attack"]["form"] = "changed"
    first["federation"]["rounds"] = -1
    again = compose(["attack=boosted"])
    assert again["attack"]["form"] == "paper"
    assert again["federation"]["rounds"] > 0


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["seed=7"], "seed", 7),
        (["seed=7", "seed=8"], "seed", 8),
        (["attack.norm_bound=3", "attack=norm_bounded"], "attack.norm_bound", 3.0),
        (["attack=boosted", "attack.epochs=2"], "attack.epochs", 2),
        (["attack=boosted", "attack.epochs=2", "attack.epochs=null"], "attack.epochs", None),
        (["participation.window=[2,5]"], "participation.window", [2, 5]),
        (["federation.replacement=true"], "federation.replacement", True),
        (["federation.client_lr=1e-2"], "federation.client_lr", 0.01),
        (["data=qmnist", "data.path=/a/b-c_d.e"], "data.path", "/a/b-c_d.e"),
        (["data=qmnist", 'data.path="/a b/c,d"'], "data.path", "/a b/c,d"),
        (["data=qmnist", "data.path='12'"], "data.path", "12"),
        # A data set brings the partition and the protocol that fit it, unless one is chosen.
        (["data=digits5k"], "partition.name", "style"),
        (["data=digits5k", "partition=iid"], "partition.name", "iid"),
        (["data=qmnist"], "federation.name", "paper"),
        (["data=qmnist", "federation=small"], "federation.name", "small"),
        (["federation=small", "data=qmnist"], "federation.name", "small"),
        # The bounded attack keeps to the bound of the defense, unless it is told another.
        (["attack=norm_bounded", "defense=norm_clip"], "attack.norm_bound", 3.0),
        (
            ["attack=norm_bounded", "defense=norm_clip", "defense.norm_bound=0.5"],
            "attack.norm_bound",
            0.5,
        ),
        (
            ["attack=norm_bounded", "attack.norm_bound=2", "defense=norm_clip"],
            "attack.norm_bound",
            2.0,
        ),
        (["attack=norm_bounded", "defense=mean"], "attack.norm_bound", 10.0),
    ],
)
def test_overrides(overrides: list[str], path: str, value: Any) -> None:
    found: Any = compose(overrides)
    for part in path.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("atack=none", ["no key 'atack'", "did you mean 'attack'?", "valid: attack, data"]),
        ("attack=boostd", ["no attack 'boostd'", "did you mean 'boosted'?", "norm_bounded"]),
        (
            "defense=krumm",
            ["no defense 'krumm'", "did you mean 'krum'?", "mean, "],
        ),
        ("defense=", ["no defense ''", "valid: adaptive_clip"]),
        ("federation.round=3", ["no key 'round' in federation=small", "did you mean 'rounds'?"]),
        ("federation.rounds.x=3", ["no key 'x' in federation.rounds"]),
        ("suite=default", ["no key 'suite'", "valid: attack"]),
        ("hydra.run.dir=x", ["no key 'hydra'"]),
        ("=3", ["no key ''"]),
        ("device=gpu", ["no device 'gpu'", "did you mean 'cpu'?", "valid: auto, cpu, cuda"]),
        ("attack.name=boosted", ["attack=NAME"]),
        ("attack._target_=os.system", ["attack=NAME"]),
        ("attack=none,boosted", ["one value at a time", "suite"]),
        ("seed=range(0,3)", ["one value at a time"]),
        ("+attack.norm_bound=1", ["only group=name and key=value"]),
        ("++seed=1", ["only group=name and key=value"]),
        ("~attack", ["only group=name and key=value"]),
        ("attack@x=none", ["only group=name and key=value"]),
        ("boosted", ["'boosted': not an override", "group=name or key=value"]),
        ("data.path=[1", ["not an override"]),
        ("data.path=a b=c,", ["not an override"]),
        ("seed=-1", ["seed must be a whole number from 0", "-1"]),
        ("seed=0.5", ["seed must be a whole number", "0.5"]),
        ("seed=true", ["seed must be a whole number", "True"]),
        ("federation.rounds=1.5", ["federation.rounds: expected a whole number, got 1.5"]),
        ("federation.rounds=true", ["federation.rounds: expected a whole number, got True"]),
        ("federation.rounds=many", ["federation.rounds: expected a whole number, got 'many'"]),
        ("federation.rounds=null", ["federation.rounds: expected a whole number, got None"]),
        ("federation.rounds=[1]", ["federation.rounds: expected a whole number, got [1]"]),
        ("federation.client_lr=fast", ["federation.client_lr: expected a number, got 'fast'"]),
        ("federation.client_lr=true", ["federation.client_lr: expected a number, got True"]),
        ("federation.replacement=1", ["expected true or false, got 1"]),
        ("federation.weighting=size", ["expected one of uniform, examples, got 'size'"]),
        ("participation.window=3", ["expected a list like [1,2] or null, got 3"]),
        ("participation.window=[a,b]", ["participation.window: expected a whole number, got 'a'"]),
        ("federation.rounds=${nothing.here}", ["nothing.here"]),
    ],
)
def test_what_is_wrong_is_named_beside_what_is_right(override: str, words: list[str]) -> None:
    message = fault(override)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("group", [g for g in GROUPS if g != "tracking"])
def test_the_nearest_name_of_every_group(group: str) -> None:
    name = available(group)[0]
    assert f"did you mean '{name}'?" in fault(f"{group}={name[:-1]}")


def test_a_constructor_may_refuse_with_a_value_error_and_nothing_else_becomes_the_users() -> None:
    section = {"name": "mean", "_target_": "builtins.int"}
    with pytest.raises(UserError, match=r"^defense: invalid literal"), refusals("defense"):
        int("x")
    with pytest.raises(TypeError), refusals("defense"):
        len(5)  # type: ignore[arg-type]
    assert make("defense", section) == 0
