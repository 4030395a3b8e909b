"""Search spaces: read from the ``search:`` of each choice's yaml, checked, sampled.

A parameter is searched over a range, ``{low, high, log?}``, or a list of choices, for which
``{choices: [...]}`` is the long form; with ``when: {other: value}`` only where another searched
parameter has that value. A parameter that is not searched, or not then, keeps its yaml's value.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import UnionType
from typing import Any, Protocol, Union, get_args, get_origin

from benchmark.config.compose import SEARCH, read_yaml
from benchmark.config.overrides import literal
from benchmark.config.plugins import yaml_path
from benchmark.config.types import convert, parameters, target_class
from benchmark.utils.errors import UserError, one_line, unknown

RANGE_KEYS = ("low", "high", "log", "when")
CHOICE_KEYS = ("choices", "when")


class Suggests(Protocol):
    """What a space asks of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool) -> int:
        """A whole number of [low, high]."""

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool) -> float:
        """A number of [low, high]."""


@dataclass(frozen=True)
class Choices:
    """A parameter that is searched over a list of values."""

    choices: tuple[Any, ...]
    when: dict[str, Any]

    def suggest(self, trial: Suggests, name: str) -> Any:
        """A value."""
        return trial.suggest_categorical(name, self.choices)

    def __contains__(self, value: object) -> bool:
        return any(value == c and type(value) is type(c) for c in self.choices)

    def __str__(self) -> str:
        return ", ".join(map(literal, self.choices)) + _condition(self.when)


@dataclass(frozen=True)
class Range:
    """A parameter that is searched over [low, high]: whole numbers if these are."""

    low: float
    high: float
    log: bool
    when: dict[str, Any]

    def suggest(self, trial: Suggests, name: str) -> float:
        """A value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, type(self.low)) and self.low <= value <= self.high

    def __str__(self) -> str:
        scale = ", log" if self.log else ""
        return f"{self.low} to {self.high}{scale}" + _condition(self.when)


Searched = Choices | Range


def _condition(when: Mapping[str, Any]) -> str:
    return "".join(f" when {key}={literal(value)}" for key, value in when.items())


@dataclass(frozen=True)
class Space:
    """One conditional space: which choice of a group, and that choice's own parameters.

    Attributes:
        group: ``attack`` or ``defense``.
        families: choice → parameter → where it is searched; conditions name parameters above.
    """

    group: str
    families: dict[str, dict[str, Searched]]

    @staticmethod
    def of(group: str, names: Sequence[str]) -> "Space":
        """The space of these choices of a group.

        >>> print(Space.of("attack", ["norm_bounded"]).families["norm_bounded"]["rounds"])
        1 to 10

        Raises:
            UserError: a ``search:`` that does not fit its constructor; names the file.
        """
        return Space(group, {name: read(group, name) for name in names})

    def suggest(self, trial: Suggests) -> list[str]:
        """A point, as overrides: the choice first."""
        family = trial.suggest_categorical(self.group, tuple(self.families))
        values: dict[str, Any] = {}
        for name, searched in self.families[family].items():
            if _holds(searched.when, values):
                values[name] = searched.suggest(trial, self._key(family, name))
        chosen = [f"{self.group}.{name}={literal(value)}" for name, value in values.items()]
        return [f"{self.group}={family}", *chosen]

    def point(self, section: Mapping[str, Any]) -> dict[str, Any] | None:
        """A resolved section of a configuration as a trial's parameters, None if outside."""
        family, values = section["name"], dict[str, Any]()
        if family not in self.families:
            return None
        for name, searched in self.families[family].items():
            if _holds(searched.when, values):
                if section[name] not in searched:
                    return None
                values[name] = section[name]
        keyed = {self._key(family, name): value for name, value in values.items()}
        return {self.group: family, **keyed}

    def describe(self) -> dict[str, Any]:
        """All of it, as plain values: two spaces are the same if these are."""
        families = self.families.items()
        plain = {f: {name: asdict(s) for name, s in searched.items()} for f, searched in families}
        found: dict[str, Any] = json.loads(json.dumps(plain))  # tuples are lists there
        return found

    def _key(self, family: str, name: str) -> str:
        # Families may search parameters of the same name over other ranges.
        return f"{self.group}.{family}.{name}"


def _holds(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(key in values and values[key] == value for key, value in when.items())


def read(group: str, name: str) -> dict[str, Searched]:
    """What a choice's yaml searches, by parameter; nothing where it says nothing.

    Raises:
        UserError: a parameter that the constructor does not have, a range that is empty or of
            the wrong type, ``log`` from 0 or below, a choice that it does not take, or a
            ``when`` that names no choice of a parameter above; names the file.
    """
    where = f"{yaml_path(group, name)}: {SEARCH}"
    content = read_yaml(group, name)
    raw = content.get(SEARCH, {})
    if not isinstance(raw, dict):
        raise UserError(f"{where} must map parameters to ranges or lists of choices, got {raw!r}")
    cls = target_class(group, {"name": name, **content})
    known = parameters(cls)
    found: dict[str, Searched] = {}
    for key, value in raw.items():
        if key not in known:
            raise unknown("parameter", str(key), known, where)
        searched = _searched(f"{where}.{key}", value, known[key].annotation)
        _check_condition(f"{where}.{key}.when", searched.when, found)
        _try(f"{where}.{key}", cls, key, searched)
        found[key] = searched
    return found


def shown(raw: Any) -> str:
    """A parameter's part of a ``search:`` in words, as it stands there."""
    given = {"when": {}, "log": False, **(raw if isinstance(raw, dict) else {"choices": raw})}
    match given:
        case {"choices": [*choices], "when": dict(when)}:
            return str(Choices(tuple(choices), when))
        case {"low": low, "high": high, "log": log, "when": dict(when)}:
            return str(Range(low, high, log, when))
    return repr(raw)


def _searched(where: str, raw: Any, hint: Any) -> Searched:
    if isinstance(raw, list):
        raw = {"choices": raw}
    if not isinstance(raw, dict):
        raise UserError(
            f"{where}: expected {{low: ..., high: ...}} or a list of choices, got {raw!r}"
        )
    keys = CHOICE_KEYS if "choices" in raw else RANGE_KEYS
    for key in raw:
        if key not in keys:
            raise unknown("key", str(key), keys, where)
    when = raw.get("when", {})
    if not isinstance(when, dict):
        raise UserError(f"{where}.when: expected {{other_parameter: value}}, got {when!r}")
    if "choices" in raw:
        return _choices(where, raw["choices"], hint, when)
    return _range(where, raw, hint, when)


def _choices(where: str, raw: Any, hint: Any, when: dict[str, Any]) -> Choices:
    if not isinstance(raw, list) or not raw:
        raise UserError(f"{where}: choices must be a list of at least one value, got {raw!r}")
    choices = tuple(convert(where, value, hint) for value in raw)
    for i, choice in enumerate(choices):
        if isinstance(choice, list):
            raise UserError(f"{where}: a choice must be one value, got {choice!r}")
        if choice in Choices(choices[:i], {}):
            raise UserError(f"{where}: {literal(choice)} stands there twice")
    return Choices(choices, when)


def _range(where: str, raw: dict[str, Any], hint: Any, when: dict[str, Any]) -> Range:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kind = next((kind for kind in (float, int) if kind in options), None)
    if kind is None:
        raise UserError(f"{where}: is no number, so it has no range; give a list of choices")
    for key in ("low", "high"):
        if key not in raw:
            raise UserError(f"{where}: a range needs low and high, {key} is missing")
    low, high = (convert(f"{where}.{key}", raw[key], kind) for key in ("low", "high"))
    log = convert(f"{where}.log", raw.get("log", False), bool)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{where}: the range is empty or endless: low {low}, high {high}")
    if log and low <= 0:
        raise UserError(f"{where}: log needs low above 0, got {low}")
    return Range(low, high, log, when)


def _check_condition(where: str, when: Mapping[str, Any], above: Mapping[str, Searched]) -> None:
    choices = {key: s.choices for key, s in above.items() if isinstance(s, Choices)}
    for key, value in when.items():
        if key not in choices:
            raise unknown("parameter with choices above it", str(key), choices, where)
        if value not in above[key]:
            raise unknown("choice", literal(value), map(literal, choices[key]), where)


def _try(where: str, cls: type, key: str, searched: Searched) -> None:
    """Have the constructor see the choices, or the ends of the range."""
    values = searched.choices if isinstance(searched, Choices) else (searched.low, searched.high)
    for value in values:
        try:
            cls(**{key: value})
        except ValueError as error:
            raise UserError(f"{where}: {one_line(error)}") from error
