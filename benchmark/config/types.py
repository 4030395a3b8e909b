"""Values as users write them, as the types that constructors ask for."""

import inspect
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin

from benchmark.config.instantiate import located
from benchmark.config.plugins import yaml_path, yamls
from benchmark.config.schema import load_yaml
from benchmark.utils.errors import UserError, one_line, unknown

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def target_class(group: str, section: Mapping[str, Any]) -> type:
    """The class that a section names.

    Raises:
        UserError: it names none, or importing it fails; names the yaml and the cause.
    """
    target = section.get("_target_", "")
    try:
        found = located(target)
        if isinstance(found, type):
            return found
        cause = "it is something else"
    except Exception as error:  # whatever importing the module raises
        cause = f"{type(error).__name__}: {one_line(error)}"
    where = yaml_path(group, section.get("name", ""))
    raise UserError(f"{where}: _target_ names no class, but {target!r}: {cause}")


@lru_cache
def parameters(of: type) -> Mapping[str, inspect.Parameter]:
    """Of a constructor, with their types."""
    return inspect.signature(of, eval_str=True).parameters


def checked(group: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A section's values, as the constructor that it names wants them.

    Raises:
        UserError: a key, type or value that is not valid.
    """
    known = parameters(target_class(group, section))
    values = {}
    for key, value in section.items():
        if key in ("name", "_target_"):
            values[key] = value
        elif key not in known:
            raise unknown("parameter", key, known, group)
        else:
            values[key] = convert(f"{group}.{key}", value, known[key].annotation)
    return values


def _nested(key: str, group: str, value: Any) -> dict[str, Any] | None:
    """The section of a plug-in inside another; None where none is named."""
    given = {"name": value} if isinstance(value, str) else value
    if not (isinstance(given, Mapping) and isinstance(given.get("name"), str)):
        return None
    name = given["name"]
    if name not in yamls(group):
        raise unknown(group, name, yamls(group), key)
    left_out = ("defaults", "search", "report")
    own = {k: v for k, v in load_yaml(yaml_path(group, name)).items() if k not in left_out}
    # What class it is says the yaml alone: a record may come from anybody.
    changes = {k: v for k, v in given.items() if k != "_target_"}
    return checked(group, {"name": name, **own, **changes})


def convert(key: str, value: Any, hint: Any) -> Any:
    """``value`` as the type hint wants it; an int passes for a float, never the reverse.

    Raises:
        UserError: it is of another type; names ``key``.
    """
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    expected = []
    for option in options:
        if option is type(None):
            if value is None:
                return None
            expected.append("null")
        elif get_origin(option) is Literal:
            if value in get_args(option):
                return value
            expected.append("one of " + ", ".join(map(str, get_args(option))))
        elif get_origin(option) in (Sequence, list, tuple):
            if isinstance(value, list):
                return [convert(key, item, get_args(option)[0]) for item in value]
            expected.append("a list like [1,2]")
        elif hasattr(option, "group"):
            if (inside := _nested(key, option.group, value)) is not None:
                return inside
            expected.append(f"the name of a {option.group}, or {{name: NAME, KEY: VALUE}}")
        elif option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        else:
            if isinstance(value, option) and (option is bool) == isinstance(value, bool):
                return value
            expected.append(_KINDS.get(option, option.__name__))
    raise UserError(f"{key}: expected {' or '.join(expected)}, got {value!r}")
