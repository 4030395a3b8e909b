"""``list``: what there is to choose from, read from yamls and the source of what they name."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.config.compose import REPORT, SEARCH, read_yaml
from benchmark.config.ensemble import Ensemble
from benchmark.config.named_setting import NamedSetting
from benchmark.config.overrides import literal
from benchmark.config.plugins import available, origin, yaml_path
from benchmark.config.search_space import shown
from benchmark.report.document import Block, Document, Facts, Heading, Mark, Paragraph, Text
from benchmark.report.markdown import to_markdown
from benchmark.report.naming import Naming, declared
from benchmark.reproduction.chapters import Chapter
from benchmark.reproduction.claim import Claim
from benchmark.reproduction.profile import Profile, experiment, paper
from benchmark.run.studies import StudySettings
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError, program, unknown
from benchmark.utils.statements import stated

FACTS = ("paper", "knowledge", "goal", "cost", "license", "homepage")
"""What classes state of themselves."""

CARD = {
    "attack": {"cost": "cost, in trainings of an honest client"},
    "defense": {
        "needs": "the server needs",
        "smallest": "smallest cohort",
        "cost": "cost (time; memory)",
    },
}
"""What pages call the facts of a card."""

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
    "executors": "executor",
    "settings": "setting",
    "ensembles": "ensemble",
    "suites": "suite",
    "tunings": "tuning",
    "profiles": "profile",
    "reproductions": "reproduction",
    "claims": "claim",
}
USE = {
    "setting": "setting=NAME",
    "ensemble": "attack: [NAME] in a suite",
    "suite": f"{program()} suite NAME",
    "tuning": "make params SUITE=NAME && make tune",
    "profile": f"{program()} reproduce NAME",
    "reproduction": f"{program()} reproduce PROFILE --only NAME",
    "claim": "conf/claim/NAME.yaml",
}
"""How what is no configuration group is chosen."""

CHECKED: dict[str, Callable[[str], object]] = {
    "setting": NamedSetting.read,
    "ensemble": Ensemble.read,
    "suite": Suite.read,
    "tuning": StudySettings.read,
    "profile": Profile.read,
    "reproduction": lambda name: experiment(name, paper(), seeds=[0]),
}
"""How it is read, which refuses what lacks a part."""


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        name: as in ``group=name``.
        description: first comment of its yaml.
        parameters: with their values as the yaml has them.
        facts: what its class states: paper, knowledge, goal, license; and its card in reports.
        readings: what its yaml says of a parameter's choices.
        search: where the tuner looks for the parameters' values.
        report: what reports call it.
        origin: the package or folder that it comes from, if not from here.
        fault: why it cannot be chosen.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    readings: dict[str, str] = field(default_factory=dict)
    search: dict[str, str] = field(default_factory=dict)
    report: str = ""
    origin: str = ""
    fault: str = ""


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    if arguments.kind is not None and arguments.kind not in KINDS:
        raise unknown("kind", arguments.kind, KINDS)
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    found = {kind: [_entry(KINDS[kind], name) for name in available(KINDS[kind])] for kind in kinds}
    for fault in (entry.fault for entries in found.values() for entry in entries if entry.fault):
        print(f"fedbackdoor: {fault}", file=sys.stderr)
    if arguments.json:
        plain = {kind: [asdict(entry) for entry in entries] for kind, entries in found.items()}
        print(json.dumps(plain[arguments.kind] if arguments.kind else plain, indent=1))
        return 0
    if arguments.markdown:
        print(to_markdown(Document(" and ".join(found), _cards(found))), end="")
        return 0
    for kind, entries in found.items():
        Console().print(_table(kind, entries))
    return 0


def _cards(found: dict[str, list[Choice]]) -> list[Block]:
    blocks: list[Block] = []
    for kind, entries in found.items():
        blocks += [Heading(2, kind)] if len(found) > 1 else []
        called = CARD.get(KINDS[kind], {})
        for entry in entries:
            told: list[tuple[str, Text]] = [
                (called.get(key, key), fact) for key, fact in entry.facts.items()
            ]
            if entry.parameters:
                told.append(("by default", (Mark(_lines("=", entry.parameters, " "), "code"),)))
            told += [(f"reading {key}", text) for key, text in entry.readings.items()]
            blocks += [Heading(3, entry.name), Paragraph(entry.description), Facts(told)]
    return blocks


def _table(kind: str, entries: list[Choice]) -> Table:
    group = KINDS[kind]
    use = USE.get(group, f"{group}=NAME")
    table = Table(title=f"{kind} ({use})", title_justify="left")
    columns = {
        "name": [entry.name for entry in entries],
        "what": [_what(entry) for entry in entries],
        "parameters": ["" if group in USE else _lines("=", entry.parameters) for entry in entries],
        "the tuner looks in": [_lines(": ", entry.search) for entry in entries],
        "from": [entry.origin for entry in entries],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    for name in shown:
        table.add_column(name, no_wrap=name == "name", overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def _what(entry: Choice) -> str:
    if entry.fault:
        return "[red]cannot be chosen[/red]"
    told = [f"In reports: {entry.report}"] if entry.report else []
    if goal := entry.facts.get("goal"):
        told.append(f"Goal: {goal}; cost: {entry.facts['cost']}")
    return "\n".join([entry.description, *told])


def _lines(sign: str, values: dict[str, Any], between: str = "\n") -> str:
    texts = {key: x if isinstance(x, str) else literal(x) for key, x in values.items()}
    return between.join(f"{key}{sign}{text}" for key, text in texts.items())


def _entry(group: str, name: str) -> Choice:
    try:
        return _read(group, name)
    except UserError as error:
        fault = str(error)
    except (SyntaxError, ValueError) as error:  # of the source that it names
        fault = f"{yaml_path(group, name)}: _target_ names what is no Python: {error}"
    return Choice(name, origin=origin(group, name), fault=fault)


def _read(group: str, name: str) -> Choice:
    path, content = yaml_path(group, name), read_yaml(group, name)
    named: type[Chapter | Naming] = Chapter if group == "reproduction" else Naming
    naming = declared(named, group, name)
    known: dict[str, Any] = {"report": naming.title}
    known["origin"] = origin(group, name)
    content.pop(REPORT, None)

    def taken(key: str, kind: type = str) -> Any:
        value = content.pop(key, None)
        if not isinstance(value, kind):
            what = "text" if kind is str else "a mapping"
            raise UserError(f"{path}: {key} must be {what}, got {value!r}")
        return value

    if group == "claim":
        claim = Claim.read(name, paper())
        return Choice(name, claim.text, {}, {"paper": claim.source}, **known)
    if group in USE:
        CHECKED[group](name)
        return Choice(name, taken("description"), content, **known)
    facts = stated(taken("_target_"), FACTS)
    if facts is None:
        raise UserError(f"{path}: _target_ names no class")
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line[1:].strip() for line in lines if line.startswith("#")]
    if isinstance(naming, Naming):
        facts |= {key: text for key, text in asdict(naming.card).items() if text}
    readings = [line.partition(" # ") for line in lines if re.match(r"[\"\w]+: [\w.+-]+ # ", line)]
    known["readings"] = {
        key.partition(":")[0].strip('"'): told
        for key, _, told in readings
        if isinstance(content.get(key.partition(":")[0].strip('"')), str)
    }
    search = taken(SEARCH, dict) if content.get(SEARCH) else content.pop(SEARCH, None) or {}
    known["search"] = {key: shown(where) for key, where in search.items()}
    content.pop("defaults", None)
    return Choice(name, " ".join(comment), content, facts, **known)
