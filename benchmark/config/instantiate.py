"""Constructing what a section of the configuration names."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from benchmark.utils.errors import UserError, one_line


def make(group: str, section: Mapping[str, Any], **further: Any) -> Any:
    """Construct what a group's section names.

    Raises:
        UserError: the constructor refuses a value.
    """
    with refusals(group):
        return construct(section, **further)


def construct(section: Mapping[str, Any], **further: Any) -> Any:
    """As :func:`make`, of a section and those inside it.

    Raises:
        ValueError: a constructor refuses a value.
    """
    parameters = {k: v for k, v in section.items() if k not in ("name", "_target_")}
    for key, value in parameters.items():
        if isinstance(value, Mapping) and "_target_" in value:
            parameters[key] = construct(value)
    return located(section["_target_"])(**parameters, **further)


def located(target: str) -> Any:
    """What a dotted name stands for."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


class refusals:  # noqa: N801
    """Turns the ValueError of a constructor into a UserError that says where it comes from."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError):
            raise UserError(f"{self.where}: {one_line(error)}") from error
