"""``params``: ``params.yaml``, which DVC follows, from ``conf/``; and back as overrides."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmark.config.compose import compose
from benchmark.config.overrides import GROUPS, literal
from benchmark.config.schema import load_yaml
from benchmark.run.record import choices
from benchmark.run.studies import StudySettings
from benchmark.run.suite import Suite
from benchmark.utils.errors import UserError
from benchmark.utils.files import atomic_file
from benchmark.utils.nested import flat

_HEADER = """\
# Written by `make params` from conf/; DVC runs the pipeline with what stands here.
# Edit a value and `dvc repro`, or `dvc exp run -S key=value`.
"""


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    write(arguments.name, arguments.out)
    print(arguments.out)
    return 0


def of(suite: str) -> dict[str, Any]:
    """The suite's grid, the studies that complete its leaderboard, and what its cells share."""
    grid = Suite.read(suite)
    resolved = compose(grid.overrides)
    # The axes choose these for each cell, so what stands in one cell says nothing.
    for axis in grid.axes:
        resolved.pop(axis, None)
    shape = {"name": grid.name, "axes": grid.axes, "seeds": grid.seeds}
    for key in ("seed", "tracking"):
        resolved.pop(key, None)
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
    edited = params.pop("suite")
    params.pop("tuning", None)
    suite = Suite.read(edited["name"])
    groups = [f"{key}={params[key]['name']}" for key in params if key in GROUPS]
    base = dict(flat(compose([*suite.overrides, *groups])))
    values = [
        f"{key}={literal(value)}"
        for key, value in flat(params)
        if key not in base or base[key] != value
    ]
    wanted: list[str] = []
    # One choice may bring others: a data set its partition and its federation.
    while more := _differing(groups, compose([*suite.overrides, *wanted])):
        wanted += more
    shape = {"description": suite.description, "overrides": suite.overrides, **edited}
    return Suite.of(shape), wanted + values


def read_tuning(path: Path) -> tuple[StudySettings, list[str]]:
    """The studies that a parameter file describes, and what their federations share.

    Raises:
        UserError: as :func:`read`, or the studies are not valid.
    """
    suite, edits = read(path)
    settings = StudySettings.of(_content(path).get("tuning"), f"{path}: tuning")
    return settings, [*suite.overrides, *edits]


def _content(path: Path) -> dict[str, Any]:
    refusal, mend = "not a parameter file", "make params writes one"
    try:
        content = load_yaml(path, refusal, mend)
        found = content if isinstance(content, dict) else {}
        choices(["suite", *(group for group in GROUPS if group in found)]).check(found)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make params writes it") from None
    except ValueError as error:
        raise UserError(f"{path}: {refusal}: {error}; {mend}") from None
    return found


def _differing(choices: list[str], resolved: dict[str, Any]) -> list[str]:
    pairs = (choice.split("=", 1) for choice in choices)
    return [f"{group}={name}" for group, name in pairs if resolved[group]["name"] != name]
