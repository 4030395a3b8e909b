"""What all plug-ins keep to; found, and built as the command line builds them."""

import inspect
import re
from typing import Any

import pytest
import yaml
from hydra.utils import get_class

from benchmark.config.compose import SEARCH, available, compose, yaml_path
from benchmark.run.assembly import make
from benchmark.utils.errors import UserError


def discover(group: str) -> list[str]:
    """Every choice of a group: one yaml each."""
    return available(group)


def build(group: str, name: str) -> Any:
    """The plug-in with its yaml's parameters, as a run has it."""
    return make(group, compose([f"{group}={name}"])[group])


def parameters(target: type[Any]) -> dict[str, inspect.Parameter]:
    """Of the constructor; a class without one of its own has none."""
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(target).parameters
    return {key: p for key, p in given.items() if p.kind not in catch_all}


class PluginContract:
    """The yaml, the constructor and the documentation tell the same story."""

    group: str

    def section(self, name: str) -> dict[str, Any]:
        text = yaml_path(self.group, name).read_text(encoding="utf-8")
        return yaml.safe_load(text)

    def target(self, name: str) -> type[Any]:
        return get_class(self.section(name)["_target_"])

    def test_the_yaml_has_exactly_the_constructors_parameters(self, name: str):
        given = set(self.section(name)) - {"_target_", "defaults", SEARCH}
        assert given == set(parameters(self.target(name)))

    def test_the_yamls_values_are_of_the_kind_of_the_constructors_defaults(self, name: str):
        resolved = compose([f"{self.group}={name}"])[self.group]
        for key, parameter in parameters(self.target(name)).items():
            default = parameter.default
            assert default is not inspect.Parameter.empty, f"{key} has no default"
            if default is not None and resolved[key] is not None:
                assert type(resolved[key]) is type(default)

    def test_a_wrong_value_is_refused_in_one_line(self, name: str):
        for key in parameters(self.target(name)):
            with pytest.raises(UserError, match=rf"^{self.group}\.{key}: expected") as refused:
                compose([f"{self.group}={name}", f"{self.group}.{key}={{not: valid}}"])
            assert "\n" not in str(refused.value)

    def test_it_is_documented(self, name: str):
        target = self.target(name)
        text = inspect.getdoc(target)
        assert "__doc__" in vars(target)
        assert text
        for key in parameters(target):
            assert re.search(rf"^\s+{key}(, \w+)*: \S", text, re.MULTILINE), f"{key} not under Args"
        first = yaml_path(self.group, name).read_text(encoding="utf-8")
        assert re.match(r"# \S.*\.\n", first), "the yaml begins with what `list` shows"

    def test_it_says_where_it_comes_from(self, name: str):
        assert re.search(r"(19|20)\d\d", self.target(name).paper)
