"""What there is to choose from, read from ``conf/`` and the classes that it names."""

from dataclasses import dataclass, field
from typing import Any

from benchmark.config import search_space as space
from benchmark.config.compose import REPORT, SEARCH, available, read_yaml, yaml_path
from benchmark.report.naming import Naming, declared
from benchmark.reproduction.chapters import Chapter
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from benchmark.utils.statements import stated

FACTS = ("paper", "knowledge", "license", "homepage")
"""What classes state of themselves."""

KINDS = {
    "attacks": "attack",
    "defenses": "defense",
    "tasks": "task",
    "participations": "participation",
    "data": "data",
    "partitions": "partition",
    "models": "model",
    "federations": "federation",
    "engines": "engine",
    "suites": "suite",
    "tunings": "tuning",
    "profiles": "profile",
    "reproductions": "reproduction",
    "claims": "claim",
}


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        name: as in ``group=name``.
        description: first comment of its yaml.
        parameters: with their values as ``conf/`` has them.
        facts: what its class states: paper, knowledge, license.
        search: where the tuner looks for the parameters' values.
        report: what reports call it.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    facts: dict[str, str]
    search: dict[str, str] = field(default_factory=dict)
    report: str = ""


def entries(kind: str) -> list[Choice]:
    """All choices of a kind, by name."""
    group = KINDS[kind]
    return [_entry(group, name) for name in available(group)]


def _entry(group: str, name: str) -> Choice:
    content = read_yaml(group, name)
    named: type[Chapter | Naming] = Chapter if group == "reproduction" else Naming
    called = declared(named, group, name).title
    content.pop(REPORT, None)
    if group == "suite":
        grid = Suite.read(name)
        return Choice(name, grid.description, {"axes": grid.axes}, {})
    if group in ("tuning", "profile", "reproduction"):
        return Choice(name, content.pop("description"), content, {}, {}, called)
    if group == "claim":
        return Choice(name, content.pop("text"), {}, {"paper": content["source"]})
    text = yaml_path(group, name).read_text(encoding="utf-8")
    comment = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    facts = stated(content.pop("_target_", ""), FACTS)
    if facts is None:
        raise UserError(f"conf/{group}/{name}.yaml: _target_ names no class")
    content.pop("defaults", None)
    searched = content.pop(SEARCH, None) or {}
    search = {key: space.shown(where) for key, where in dict(searched).items()}
    return Choice(name, " ".join(comment), content, facts, search, called)
