"""What there is to choose from, read from ``conf/`` and the classes that it names."""

import inspect
from dataclasses import dataclass
from typing import Any

import yaml
from hydra.utils import get_class

from benchmark import config

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
}


@dataclass(frozen=True)
class Entry:
    """One choice.

    Attributes:
        name: as in ``group=name``.
        description: first comment of its yaml.
        parameters: with their values as ``conf/`` has them.
        facts: what its class states: paper, knowledge, license.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    facts: dict[str, str]


def entries(kind: str) -> list[Entry]:
    """All choices of a kind, by name."""
    group = KINDS[kind]
    return [_entry(group, name) for name in config.names(group)]


def _entry(group: str, name: str) -> Entry:
    text = (config.CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    if group == "suite":
        return Entry(name, content["description"], {"axes": content["axes"]}, {})
    comment = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    cls = get_class(content.pop("_target_"))
    content.pop("defaults", None)
    facts = {}
    for fact in ("paper", "knowledge", "license", "homepage"):
        value = inspect.getattr_static(cls, fact, None)
        if value is not None:
            facts[fact] = (
                getattr(value, "name", str(value)).lower() if fact == "knowledge" else str(value)
            )
    return Entry(name, " ".join(comment), content, facts)
