"""What makes two descriptions of studies differ."""

from collections.abc import Iterator
from typing import Any


def difference(found: Any, wanted: Any) -> str:
    """The first value that two descriptions have not in common."""
    if not isinstance(found, dict):
        return "it was not made by this program"
    there, here = dict(_flat(found)), dict(_flat(wanted))
    key = next(k for k in [*here, *there] if there.get(k, _flat) != here.get(k, _flat))
    return f"{key} is {there.get(key, 'nothing')} there and {here.get(key, 'nothing')} here"


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item
