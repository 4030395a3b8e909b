"""What reports call what a configuration chooses: ``report:`` of each yaml, else plain names.

A yaml that says nothing is fine, and one that is not there any more, too: ``norm_clip`` is called
"norm clip", its ``norm_bound`` of 3 "norm bound = 3".
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from benchmark.config.compose import REPORT, read_yaml
from benchmark.config.overrides import literal
from benchmark.config.plugins import available, yaml_path, yamls
from benchmark.config.schema import Schema
from benchmark.utils.errors import UserError

T = TypeVar("T")
Symbol = str | dict[str, str]


@dataclass(frozen=True)
class Card:
    """What whoever chooses a defense asks first; every key may be left out.

    Attributes:
        needs: what the server must know or hold beside the updates.
        smallest: the smallest cohort, a number or in f, the compromised that are assumed:
            ``2f + 3``.
        cost: time, then memory beside the updates, in K and P.
        weakness: known ones.
    """

    needs: str = ""
    smallest: str = ""
    cost: str = ""
    weakness: str = ""


@dataclass(frozen=True)
class Naming:
    """``report:`` of a choice's yaml; every key may be left out.

    Attributes:
        title: its name.
        in_full: its name with all that matters, parameters as ``{parameter}``; by default the
            title and each parameter that is not as its yaml has it.
        symbols: parameter → what is said of it: a text with ``{}`` for its value, or ``{%}`` for
            a share in percent; or one text for each value. Of null nothing is said. Goes on from
            the parameter before it, without a comma, where it begins with a space.
        card: what is to be known before it is chosen.
    """

    title: str = ""
    in_full: str = ""
    symbols: dict[str, Symbol] = field(default_factory=dict)
    card: Card = field(default_factory=Card)


def declared(of: type[T], group: str, name: str) -> T:
    """``report:`` of a yaml; empty if it has none, or is not there any more.

    Raises:
        UserError: it does not fit; names the file.
    """
    kind: Any = of
    found: T = _declared(kind, yaml_path(group, name), group, name)
    return found


def title(group: str, name: str) -> str:
    """A choice."""
    return declared(Naming, group, name).title or name.replace("_", " ")


def in_full(group: str, section: Mapping[str, Any]) -> str:
    """A choice with its parameters, where its group is known: ``boosted, paper form``."""
    name = section["name"]
    told = {
        key: said(group, key, value, name).removeprefix(f"{group}, ")
        for key, value in section.items()
        if key not in ("name", "_target_")
    }
    if template := declared(Naming, group, name).in_full:
        return re.sub(r"\{(\w+)\}", lambda key: told.get(key[1], ""), template)
    usual = read_yaml(group, name) if name in available(group) else {}
    changed = [t for key, t in told.items() if key not in usual or usual[key] != section[key]]
    return joined([title(group, name).removesuffix(f" {group}"), *changed])


def said(group: str, parameter: str, value: Any, name: str = "") -> str:
    """A parameter's value; the other choices of the group lend a symbol where ``name`` has none."""
    if isinstance(value, Mapping) and "name" in value:  # a plug-in inside another
        return in_full(group, value)
    paths = yamls(group)  # once, not for each choice
    lenders = sorted(paths, key=lambda each: (each != name, each))
    known = (_symbols(group, each, paths[each]).get(parameter) for each in lenders)
    symbol = next((each for each in known if each is not None), None)
    key = value if isinstance(value, str) else literal(value)
    if isinstance(symbol, dict):
        return symbol.get(key, key)
    if symbol is not None and key == "null":
        return ""
    found = as_number(key)
    # Whole numbers keep all their digits.
    shown = key if found is None or key.isdigit() else f"{found:.3g}"
    if symbol is None:
        return f"{parameter.replace('_', ' ')} = {shown}"
    return symbol.replace("{}", shown).replace("{%}", shown if found is None else share(found))


def _symbols(group: str, name: str, path: Path) -> dict[str, Symbol]:
    try:
        found: Naming = _declared(Naming, path, group, name)
        return found.symbols
    except UserError:
        return {}  # a broken yaml lends nothing, and breaks no report of others


def parts(chosen: Mapping[str, Any], varied: Collection[str]) -> dict[str, str]:
    """What has been chosen, of the keys that vary: group → words.

    Args:
        chosen: ``group`` → name, ``group.key`` → value; parameters speak for their choice.
        varied: see :func:`varying`.
    """
    keys = [key for key in chosen if key in varied]
    spoken_for = {key.partition(".")[0] for key in keys if "." in key}
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        group, _, parameter = key.partition(".")
        if parameter:
            found[group].append(said(group, parameter, chosen[key], chosen.get(group, "")))
        elif group not in spoken_for:
            found[group].append(title(group, chosen[key]))
    told = {group: joined(texts) for group, texts in found.items()}
    return {group: text for group, text in told.items() if text}


def varying(chosen: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys that are not the same in all of them."""
    keys = {key for each in chosen for key in each}
    return {key for key in keys if len({repr(each.get(key)) for each in chosen}) > 1}


def as_number(text: str) -> float | None:
    """The number that a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def share(value: float) -> str:
    """A small share, such as ε, in percent with two digits."""
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.3g} %"


def joined(texts: Sequence[str]) -> str:
    """Parts of a name, without a comma before one that begins with a space."""
    told = "".join(t if t.startswith(" ") else f", {t}" for t in texts if t)
    return told.removeprefix(", ").strip()


@lru_cache(maxsize=1024)
def _declared(of: Any, path: Path, group: str, name: str) -> Any:
    raw = read_yaml(group, name).get(REPORT) if name in available(group) else None
    return of() if raw is None else Schema(of).check(raw, f"{path}: {REPORT}")
