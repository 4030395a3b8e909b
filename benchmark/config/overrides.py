"""Overrides in Hydra's grammar: read, checked against the names that there are, written."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from benchmark.config.plugins import available, no_choice
from benchmark.utils.errors import UserError

GROUPS = (
    "data",
    "partition",
    "model",
    "task",
    "attack",
    "participation",
    "defense",
    "federation",
    "engine",
    "tracking",
)


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Read overrides in Hydra's grammar and check the names of groups and choices."""
    parsed = []
    for text in overrides:
        override = _read(text)
        if _RESOLVER.search(text):
            raise UserError(
                f"'{text}': a value is written out, or taken from another key as in ${{seed}}; "
                "what the environment holds does not belong into records"
            )
        extends = override.is_add() or override.is_force_add() or override.is_delete()
        if extends or override.package is not None:
            raise UserError(f"'{text}': only group=name and key=value are possible here")
        if override.is_sweep_override():
            raise UserError(f"'{text}': one value at a time; a grid belongs in a suite")
        group = override.key_or_group
        if group in GROUPS and str(override.value()) not in available(group):
            raise no_choice(group, str(override.value()))
        parsed.append(override)
    return parsed


_RESOLVER = re.compile(r"\$\{[^}]*:")
"""An interpolation that calls something, such as ``${oc.env:HOME}``."""


@lru_cache(maxsize=4096)
def _read(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        raise UserError(
            f"'{text}': not an override; write group=name or key=value, "
            "quoting special characters as in key=\"'a,b'\""
        ) from None
    return override


def reads_as(text: str) -> Any:
    """The value that Hydra's grammar reads in ``text``; None where it reads none."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return None


def literal(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str) and reads_as(value) == value:
        return value
    return json.dumps(value, separators=(",", ":"))
