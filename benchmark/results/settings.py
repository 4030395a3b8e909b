"""Which runs may be compared: settings that differ are never averaged, and each has a label."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmark.config.named_setting import SETTING, NamedSetting
from benchmark.config.plugins import available
from benchmark.run.cell import NOT_IN_THE_RESULT
from benchmark.run.record import Record
from benchmark.utils.errors import UserError
from benchmark.utils.nested import flat

GROUPS = ("data", "partition", "model", "task", "participation", "federation", "engine")
UNATTACKED, UNDEFENDED = "none", "mean"
"""The attack and the defense that are none: what all others are measured against."""


@dataclass(frozen=True)
class Setting:
    """Everything but attack, defense and seed.

    Attributes:
        name: of the named setting that its runs were made in (``conf/setting``), and what they
            were given beyond it; empty if none.
        label: what tells it from the other settings of the leaderboard: their names, where each
            has one of its own; empty if it is alone.
        groups: configuration group → what was chosen, as :func:`choice` writes it.
        data: manifest facts of the data.
    """

    name: str
    label: str
    groups: dict[str, str]
    data: dict[str, Any]


def choice(record: Record, group: str) -> str:
    """What a run chose in a group: its name, then its explicit overrides.

    ``defense=norm_clip defense.norm_bound=0.5`` is ``norm_clip (norm_bound=0.5)``. A reference to
    another group stays one, so an attacker who adapts to each defense has a single label:
    ``attack.norm_bound=${defense.norm_bound}`` is ``norm_bound=defense.norm_bound``.
    """
    return _label(_name(record, group), _overrides(record, group))


def unique_choices(
    records: list[Record], group: str, context: Callable[[Record], Hashable]
) -> list[str]:
    """:func:`choice` of each record, told apart where equal labels hide different parameters.

    Args:
        records: runs of one setting.
        group: ``attack`` or ``defense``.
        context: what the resolved parameters of the group may depend on.

    Returns:
        One label a record, in the order of ``records``.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[choice(record, group)].append(record)
    hidden = {label: _hidden(same, group, context) for label, same in members.items()}
    labels = []
    for record in records:
        parameters = _flat(record.config[group])
        extra = {k: parameters.get(k, "unset") for k in hidden[choice(record, group)]}
        labels.append(_label(_name(record, group), {**_overrides(record, group), **extra}))
    return labels


def split_by_setting(records: list[Record]) -> list[tuple[Setting, list[Record]]]:
    """Runs of each setting, in the order of the settings' labels."""
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[_key(record)].append(record)
    first = {key: min(same, key=lambda r: r.cell) for key, same in members.items()}
    names = [_named(record) for record in first.values()]
    is_told = len(names) > 1 and all(names) and len({*names}) == len(names)
    labels = names if is_told else _differences(list(first.values()))
    sections = []
    for (key, record), name, label in zip(first.items(), names, labels, strict=True):
        groups = {
            g: min((choice(r, g) for r in members[key]), key=lambda c: (len(c), c)) for g in GROUPS
        }
        sections.append((key, Setting(name, label, groups, dict(sorted(record.data.items())))))
    sections.sort(key=lambda s: (s[1].label, s[0]))
    return [(setting, members[key]) for key, setting in sections]


def _named(record: Record) -> str:
    """The setting whose overrides a run was given, and what it was given beyond them.

    Of several the most specific; ``digits5k with federation.client_lr=0.5``.
    """
    given, found = {*record.overrides}, list[tuple[int, str, set[str]]]()
    for name in available(SETTING):
        with suppress(UserError):  # a plug-in's faulty yaml names nothing
            own = NamedSetting.read(name).overrides
            found += [(len(own), name, {*own})] if given.issuperset(own) else []
    if not found:
        return ""
    _, name, told = max(found, key=lambda each: each[:2])
    further = [o for o in record.overrides if o not in told and _is_of_a_setting(o)]
    return " ".join([name, *(["with", ", ".join(further)] if further else [])])


def _is_of_a_setting(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key.partition(".")[0] in GROUPS and key not in NOT_IN_THE_RESULT


def _key(record: Record) -> str:
    groups = {g: record.config[g] for g in GROUPS}
    return json.dumps([groups, record.data.get("hash")], sort_keys=True, default=str)


def _differences(records: list[Record]) -> list[str]:
    """For one record of each setting, the choices and parameters that not all of them share."""
    parts: list[list[str]] = [[] for _ in records]
    for group in GROUPS:
        names = [_name(r, group) for r in records]
        parameters = [_flat(r.config[group]) for r in records]
        if group == "data":
            for record, flat in zip(records, parameters, strict=True):
                flat["hash"] = str(record.data.get("hash"))[:8]
        for part, name, flat in zip(parts, names, parameters, strict=True):
            if len(set(names)) > 1:
                part.append(f"{group}={name}")
            namesakes = [p for p, n in zip(parameters, names, strict=True) if n == name]
            part += [f"{group}.{k}={flat.get(k, 'unset')}" for k in _varying(namesakes)]
    return [", ".join(part) for part in parts]


def _hidden(records: list[Record], group: str, context: Callable[[Record], Hashable]) -> list[str]:
    by_context: dict[Hashable, list[dict[str, str]]] = defaultdict(list)
    for record in records:
        by_context[context(record)].append(_flat(record.config[group]))
    return sorted({key for flats in by_context.values() for key in _varying(flats)})


def _varying(flats: list[dict[str, str]]) -> list[str]:
    keys = sorted(set().union(*flats))
    return [k for k in keys if len({flat.get(k) for flat in flats}) > 1]


def _name(record: Record, group: str) -> str:
    return str(record.config[group]["name"])


def _overrides(record: Record, group: str) -> dict[str, str]:
    """A group's explicit parameters; ``${defense.norm_bound}`` is what it refers to."""
    pairs = (override.lstrip("+").partition("=") for override in record.overrides)
    start = f"{group}."
    return {
        key.removeprefix(start): re.sub(r"^\$\{(.*)\}$", r"\1", value)
        for key, _, value in pairs
        if key.startswith(start)
    }


def _label(name: str, parameters: dict[str, str]) -> str:
    listed = ", ".join(f"{k}={v}" for k, v in sorted(parameters.items()))
    return f"{name} ({listed})" if listed else name


def _flat(section: dict[str, Any]) -> dict[str, str]:
    """A nested group as ``a.b.c`` → text, without its name and class."""
    return {
        key: json.dumps(value, default=str).strip('"')
        for key, value in flat(section)
        if key not in ("name", "_target_")
    }
