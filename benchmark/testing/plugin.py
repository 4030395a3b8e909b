"""What all plug-ins keep to; found by their yaml, and built as the command line builds them."""

import inspect
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmark.config.compose import REPORT, SEARCH, read_yaml, resolve
from benchmark.config.instantiate import make
from benchmark.config.plugins import CONF
from benchmark.config.types import target_class
from benchmark.utils.errors import UserError


class PluginContract:
    """The yaml, the constructor and the documentation tell the same story.

    Attributes:
        group: of the configuration: ``attack``, ``defense`` and so on.
        conf: the folder of a package's configuration; ``group/*.yaml`` below it are tested.
    """

    group: ClassVar[str]
    conf: ClassVar[Path] = CONF

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "name" in metafunc.fixturenames:
            paths = (self.conf / self.group).glob("*.yaml")
            metafunc.parametrize("name", sorted(path.stem for path in paths))

    @pytest.fixture
    def plugin(self, name: str) -> Any:
        """With its yaml's parameters, as a run has it."""
        return self.build(name)

    def build(self, name: str) -> Any:
        return make(self.group, self.resolved(name))

    def resolved(self, name: str, **changes: Any) -> dict[str, Any]:
        return resolve(self.group, name, {**self.section(name), **changes})

    def section(self, name: str) -> dict[str, Any]:
        return read_yaml(self.group, name, self.conf)

    def target(self, name: str) -> type[Any]:
        return target_class(self.group, self.section(name))

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """Of the constructor; a class without one of its own has none."""
        catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        given = inspect.signature(self.target(name)).parameters
        return {key: p for key, p in given.items() if p.kind not in catch_all}

    def test_the_yaml_has_exactly_the_constructors_parameters(self, name: str) -> None:
        given = set(self.section(name)) - {"_target_", "defaults", SEARCH, REPORT}
        assert given == set(self.parameters(name))

    def test_the_yamls_values_are_of_the_kind_of_the_defaults(self, name: str) -> None:
        resolved = self.resolved(name)
        for key, parameter in self.parameters(name).items():
            default = parameter.default
            assert default is not inspect.Parameter.empty, f"{key} has no default"
            if default is not None and resolved[key] is not None:
                assert type(resolved[key]) is type(default)

    def test_a_wrong_value_is_refused_in_one_line(self, name: str) -> None:
        for key in self.parameters(name):
            with pytest.raises(UserError, match=rf"^{self.group}\.{key}: expected") as refused:
                self.resolved(name, **{key: {"not": "valid"}})
            assert "\n" not in str(refused.value)

    def test_it_is_documented(self, name: str) -> None:
        text = inspect.getdoc(self.target(name))
        assert "__doc__" in vars(self.target(name))
        assert text
        for key in self.parameters(name):
            assert re.search(rf"^\s+{key}(, \w+)*: \S", text, re.MULTILINE), f"{key} not under Args"
        first = (self.conf / self.group / f"{name}.yaml").read_text(encoding="utf-8")
        assert re.match(r"# \S.*\.\n", first), "the yaml begins with what `list` shows"

    def test_it_says_where_it_comes_from(self, name: str) -> None:
        assert re.search(r"(19|20)\d\d", self.target(name).paper)
