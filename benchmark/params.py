"""``params.yaml``: what DVC follows, written from ``conf/`` and read back as overrides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmark import config
from benchmark.errors import UserError
from benchmark.files import atomic_file
from benchmark.suite import Suite, literal

_HEADER = """\
# Written by `make params` from conf/; DVC runs the pipeline with what stands here.
# Edit a value and `dvc repro`, or `dvc exp run -S key=value`.
"""


def of(suite: str) -> dict[str, Any]:
    """The suite's grid, and the configuration that its cells have in common."""
    grid = Suite.read(suite)
    resolved = config.compose(grid.overrides)
    # The axes choose these for each cell, so what stands in one cell says nothing.
    for axis in grid.axes:
        resolved.pop(axis, None)
    shape = {"name": grid.name, "axes": grid.axes, "seeds": grid.seeds}
    for key in ("seed", "tracking"):
        resolved.pop(key)
    for section in resolved.values():
        if isinstance(section, dict):
            section.pop("_target_")
    return {"suite": shape, **resolved}


def write(suite: str, path: Path) -> None:
    """Write the parameters of a suite."""
    text = yaml.safe_dump(of(suite), sort_keys=False, allow_unicode=True)
    with atomic_file(path) as temporary:
        temporary.write_text(_HEADER + text, encoding="utf-8")


def read(path: Path) -> tuple[Suite, list[str]]:
    """The suite that a parameter file describes, and its edits as overrides.

    Raises:
        UserError: no such file, not a parameter file, or keys that ``conf/`` does not have.
    """
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        edited = params.pop("suite")
        suite = Suite.read(edited["name"])
        groups = [f"{key}={params[key]['name']}" for key in params if key in config.GROUPS]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make params writes it") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a parameter file ({fault}); make params writes one") from None
    base = dict(_flat(config.compose([*suite.overrides, *groups])))
    values = [
        f"{key}={literal(value)}"
        for key, value in _flat(params)
        if key not in base or base[key] != value
    ]
    choices: list[str] = []
    # One choice may bring others: a data set its partition and its federation.
    while more := _differing(groups, config.compose([*suite.overrides, *choices])):
        choices += more
    shape = {"description": suite.description, "overrides": suite.overrides, **edited}
    return Suite.of(shape), choices + values


def _differing(choices: list[str], resolved: dict[str, Any]) -> list[str]:
    pairs = (choice.split("=", 1) for choice in choices)
    return [f"{group}={name}" for group, name in pairs if resolved[group]["name"] != name]


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
