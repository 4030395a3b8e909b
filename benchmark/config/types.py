"""Values as users write them, as the types that constructors ask for."""

import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

from benchmark.utils.errors import UserError

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


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
        elif option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        else:
            if isinstance(value, option) and (option is bool) == isinstance(value, bool):
                return value
            expected.append(_KINDS.get(option, option.__name__))
    raise UserError(f"{key}: expected {' or '.join(expected)}, got {value!r}")
