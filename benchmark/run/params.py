"""``params.yaml``: what DVC follows, written from ``conf/`` and read back as overrides."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmark.config.compose import GROUPS, compose, literal
from benchmark.run.studies import StudySettings
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from benchmark.utils.files import atomic_file

_HEADER = """\
# Written by `make params` from conf/; DVC runs the pipeline with what stands here.
# Edit a value and `dvc repro`, or `dvc exp run -S key=value`.
"""


def of(suite: str) -> dict[str, Any]:
    """The suite's grid, the studies that complete its leaderboard, and what its cells share."""
    grid = Suite.read(suite)
    resolved = compose(grid.overrides)
    # The axes choose these for each cell, so what stands in one cell says nothing.
    for axis in grid.axes:
        resolved.pop(axis, None)
    shape = {"name": grid.name, "axes": grid.axes, "seeds": grid.seeds}
    for key in ("seed", "tracking"):
        resolved.pop(key)
    for section in resolved.values():
        if isinstance(section, dict):
            section.pop("_target_")
    return {"suite": shape, "tuning": asdict(StudySettings.read(suite)), **resolved}


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
    params = _content(path)
    try:
        edited = params.pop("suite")
        params.pop("tuning", None)
        suite = Suite.read(edited["name"])
        groups = [f"{key}={params[key]['name']}" for key in params if key in GROUPS]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_parameters(path, error) from None
    base = dict(_flat(compose([*suite.overrides, *groups])))
    values = [
        f"{key}={literal(value)}"
        for key, value in _flat(params)
        if key not in base or base[key] != value
    ]
    choices: list[str] = []
    # One choice may bring others: a data set its partition and its federation.
    while more := _differing(groups, compose([*suite.overrides, *choices])):
        choices += more
    shape = {"description": suite.description, "overrides": suite.overrides, **edited}
    return Suite.of(shape), choices + values


def read_tuning(path: Path) -> tuple[StudySettings, list[str]]:
    """The studies that a parameter file describes, and what their federations share.

    Raises:
        UserError: as :func:`read`, or the studies are not valid.
    """
    suite, edits = read(path)
    settings = StudySettings.of(_content(path).get("tuning"), f"{path}: tuning")
    return settings, [*suite.overrides, *edits]


def _content(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make params writes it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _no_parameters(path, error) from None


def _no_parameters(path: Path, error: Exception) -> UserError:
    fault = f"{type(error).__name__}: {error}"
    return UserError(f"{path}: not a parameter file ({fault}); make params writes one")


def _differing(choices: list[str], resolved: dict[str, Any]) -> list[str]:
    pairs = (choice.split("=", 1) for choice in choices)
    return [f"{group}={name}" for group, name in pairs if resolved[group]["name"] != name]


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
