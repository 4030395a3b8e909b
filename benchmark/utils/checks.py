"""Checks of constructor arguments, worded once."""

import math
from typing import Any, get_args


def positive(name: str, value: float) -> float:
    """``value`` if it is above 0 and finite.

    Raises:
        ValueError: it is not.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


def at_least(name: str, least: int, value: int) -> int:
    """``value`` if it is ``least`` or more.

    Raises:
        ValueError: it is not.
    """
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def one_of(name: str, literal: Any, value: str) -> Any:
    """``value`` if the ``Literal`` type has it.

    Raises:
        ValueError: it has not.
    """
    if value not in get_args(literal):
        raise ValueError(f"{name} must be one of {', '.join(get_args(literal))}; got {value}")
    return value
