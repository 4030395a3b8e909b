"""Settings by name, on the command line and in suites."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.config.compose import compose
from benchmark.config.named_setting import NamedSetting, expanded
from benchmark.config.plugins import available
from benchmark.data.dataset import Split
from benchmark.models.normalize import Normalize
from benchmark.run.assembly import build
from benchmark.run.suite import Suite
from benchmark.testing.toys import make_dataset
from benchmark.utils.errors import UserError


@pytest.mark.parametrize("name", available("setting"))
def test_every_setting_composes_as_it_says(name: str) -> None:
    setting = NamedSetting.read(name)
    found = compose([f"setting={name}"])
    for override in setting.overrides:
        group, _, value = override.partition("=")
        if "." not in group:
            assert found[group]["name"] == value
    assert found == compose(setting.overrides)
    assert (found["attack"]["name"], found["defense"]["name"]) == ("none", "mean")


@pytest.mark.parametrize("name", available("setting"))
def test_every_setting_builds_on_images_of_its_kind(name: str) -> None:
    dataset = make_dataset([9] * 40)
    if name.startswith("cifar10"):
        dataset = replace(dataset, train=colored(dataset.train), test=colored(dataset.test))
    small = ["participation.frequency=1", "task.num_tasks=2", "seed=1"]
    federation = build(compose([f"setting={name}", *small]), dataset)
    normalized = isinstance(next(iter(federation.client.model.children())), Normalize)
    assert normalized == name.startswith("cifar10")
    assert federation.protocol.flip == normalized


def colored(split: Split) -> Split:
    return replace(split, images=split.images[:, :, :14, :14].repeat(1, 3, 2, 2))


def test_todays_defaults_have_a_name() -> None:
    assert compose(["setting=digits5k"]) == compose([])


def test_what_stands_beside_a_setting_has_the_last_word() -> None:
    beside = ["task.num_tasks=5", "federation.rounds=7", "attack=boosted"]
    found = compose([*beside, "setting=writers"])
    assert found == compose(["setting=writers", *beside])
    assert found["task"]["num_tasks"] == 5
    assert found["federation"]["rounds"] == 7
    assert found["attack"]["name"] == "boosted"
    other = compose(["setting=writers", "data=qmnist", "task.num_tasks=5"])
    assert (other["data"]["name"], other["federation"]["name"]) == ("qmnist", "paper")


def test_another_entry_of_a_group_is_as_the_setting_has_it_where_it_has_the_same_keys() -> None:
    said = compose(["setting=cifar10_small"])["federation"]
    found = compose(["setting=cifar10_small", "federation=paper", "federation.crop_padding=2"])
    assert found["federation"]["name"] == "paper"
    assert found["federation"]["clients_per_round"] == 30
    for key in ("rounds", "pixel_mean", "pixel_std", "flip"):
        assert found["federation"][key] == said[key] != compose([])["federation"][key]
    assert found["federation"]["crop_padding"] == 2
    assert "data.image=img" not in expanded(["setting=cifar10_small", "data=qmnist"])
    with pytest.raises(UserError, match="no federation 'papr'"):
        compose(["setting=cifar10_small", "federation=papr"])


def test_a_suite_names_a_setting_or_several() -> None:
    parts = {"name": "mine", "description": "", "seeds": [0]}
    suite = Suite.of({**parts, "overrides": ["setting=digits5k"], "axes": {"defense": ["mean"]}})
    assert compose(next(iter(suite.grid()))) == compose(["seed=0"])
    several = Suite.of({**parts, "overrides": [], "axes": {"setting": ["digits5k", "writers"]}})
    assert [compose(o)["data"]["name"] for o in several.grid()] == ["digits5k", "fedemnist"]


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["setting=digits"], "no setting 'digits'; did you mean 'digits5k'"),
        (["setting=digits5k", "setting=writers"], "one setting at a time, got digits5k, writers"),
    ],
)
def test_a_setting_that_is_none_is_refused(overrides: list[str], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        compose(overrides)


@pytest.mark.parametrize("override", ["attack=boosted", "defense.norm_bound=1", "seed=3"])
def test_no_attack_defense_or_seed_is_part_of_a_setting(conf: Path, override: str) -> None:
    path = conf / "setting" / "mine.yaml"
    path.write_text(f"description: mine\noverrides: [{override}]\n")
    with pytest.raises(UserError, match=f"setting mine: .*'{override}' is no part of a setting"):
        compose(["setting=mine"])
