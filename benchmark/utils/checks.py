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


def not_negative(name: str, value: float) -> float:
    """``value`` if it is 0 or more and finite.

    Raises:
        ValueError: it is not.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be 0 or more and finite, got {value}")
    return value


def share(name: str, value: float) -> float:
    """``value`` if it is 0 to 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be 0 to 1, got {value}")
    return value


def positive_share(name: str, value: float) -> float:
    """``value`` if it is above 0 and at most 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return value


def below_one(name: str, value: float) -> float:
    """``value`` if it is 0 to below 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be 0 to below 1, got {value}")
    return value


def at_least(name: str, least: int, value: int) -> int:
    """``value`` if it is ``least`` or more.

    Raises:
        ValueError: it is not.
    """
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def at_most(name: str, most: int, value: int) -> int:
    """``value`` if it is ``most`` or less: a slip of the keyboard should not run for ever.

    Raises:
        ValueError: it is not.
    """
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")
    return value


def worker_count(workers: int) -> int:
    """A number of things done at the same time.

    Raises:
        ValueError: it is none, or more than any machine has cores.
    """
    return at_most("workers", 1024, at_least("workers", 1, workers))


def one_of(name: str, literal: Any, value: str) -> Any:
    """``value`` if the ``Literal`` type has it.

    Raises:
        ValueError: it has not.
    """
    if value not in get_args(literal):
        raise ValueError(f"{name} must be one of {', '.join(get_args(literal))}; got {value}")
    return value
