"""From ``conf/`` and overrides to a checked configuration and the objects it names.

A configuration that leaves here is a plain dictionary, its
names and values checked against the constructors that they are for.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config import plugins
from benchmark.config.instantiate import construct
from benchmark.config.named_setting import expanded
from benchmark.config.overrides import GROUPS, literal, parse_overrides
from benchmark.config.plugins import yaml_path
from benchmark.config.schema import load_yaml
from benchmark.config.types import checked
from benchmark.utils.errors import UserError, one_line, unknown
from benchmark.utils.statements import stated
from benchmark.utils.urls import concealed

DEVICES = ("auto", "cpu", "cuda")
SEARCH = "search"
"""Key of a choice's yaml: where the tuner may look for its parameters' values."""
REPORT = "report"
"""Key of a choice's yaml: what reports call it and its parameters."""


def read_yaml(group: str, name: str, conf: Path | None = None) -> dict[str, Any]:
    """A choice's own yaml, as it stands.

    Raises:
        UserError: it is not a mapping.
    """
    path = conf / group / f"{name}.yaml" if conf else yaml_path(group, name)
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return content


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one cell.

    Args:
        overrides: Hydra's ``group=name`` and ``key=value``, and ``setting=name`` for those of a
            setting.

    Returns:
        A plain dictionary; every group holds its choice's ``name`` beside its parameters.

    Raises:
        UserError: a name, key, type or value that is not valid; names the valid ones.
    """
    return check(composed(overrides))


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """As :func:`compose`, without the check of values, which imports what they are for.

    Raises:
        UserError: a name or key that is not valid.
    """
    return copy.deepcopy(_composed(tuple(overrides), plugins.CONF, tuple(plugins.folders())))


@lru_cache(maxsize=4096)
def _composed(overrides: Sequence[str], conf: Path, folders: Sequence[Path]) -> dict[str, Any]:
    choices: list[Override] = []
    values: list[Override] = []
    for override in parse_overrides(expanded(overrides)):
        (choices if override.key_or_group in GROUPS else values).append(override)
    config = _compose_groups(choices)
    for override in values:
        with _one_line("configuration"):
            _set(config, override)
    return {key: _concealed(value) for key, value in _plain("configuration", config).items()}


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{where}: {one_line(error)}") from error


def _plain(where: str, config: Any) -> dict[str, Any]:
    with _one_line(where):
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _concealed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _concealed(item) for key, item in value.items()}
    return concealed(value) if isinstance(value, str) else value


def apart(group: str, name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The section of a group that is no part of a cell, and the overrides that are not its own.

    Args:
        group: of ``conf/``.
        name: what is chosen where no override chooses.
        overrides: of cells and of the group.

    Raises:
        UserError: a name, key, type or value that is not valid.
    """
    own = [text for text in overrides if text.startswith((f"{group}=", f"{group}."))]
    parsed = parse_overrides(own)
    for override in parsed:
        name = str(override.value()) if override.key_or_group == group else name
    if name not in plugins.available(group):
        raise plugins.no_choice(group, name)
    with _one_line(f"{group}={name}"):
        config = OmegaConf.create({group: _section(name, OmegaConf.load(yaml_path(group, name)))})
    for override in parsed:
        if override.key_or_group != group:
            with _one_line(group):
                _set(config, override)
    return checked(group, _plain(group, config)[group]), [x for x in overrides if x not in own]


def resolve(group: str, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A choice's own yaml, checked and with its defaults filled in, beside the default choices.

    Raises:
        UserError: a key, type or value that is not valid.
    """
    config = _compose_groups([])
    left_out = ("defaults", SEARCH, REPORT)
    chosen = {key: value for key, value in section.items() if key not in left_out}
    config[group] = {"name": name, **chosen}
    return checked(group, _plain(f"{group}={name}", config[group]))


def named(group: str, name: str, /, **parameters: Any) -> Any:
    """What a yaml names, constructed, with these parameters over the yaml's.

    Raises:
        UserError: there is no such choice or parameter.
        ValueError: the constructor refuses a value; a reviewer's test asks for the error itself.
    """
    if name not in plugins.available(group):
        raise plugins.no_choice(group, name)
    return construct(resolve(group, name, {**read_yaml(group, name), **parameters}))


def plants_any(attack: str) -> bool:
    """Whether an attack plants whatever backdoor the task is, by the source of its class.

    Not one that wants none, nor one that learns the trigger or plants parts of it, which only
    some tasks allow.
    """
    plain = {"goal": "backdoor", "learns": "None", "needs_parts": "False"}
    facts = stated(str(read_yaml("attack", attack).get("_target_")), [*plain]) or {}
    return plain | facts == plain


def _compose_groups(choices: Sequence[Override]) -> Any:
    """Of its own, so that it may be written to."""
    # Hydra takes a quarter of a second: a suite asks it once for the choices that choose others.
    named = {str(c.key_or_group): str(c.value()) for c in choices}
    found = {g: _own_section(g, name, yaml_path(g, name)) for g, name in named.items()}
    own = {group: section for group, section in found.items() if section is not None}
    lines = [str(c.input_line) for c in choices if c.key_or_group not in own]
    further = literal([f"file://{folder}" for folder in plugins.folders()])
    config = copy.deepcopy(_by_hydra((f"hydra.searchpath={further}", *lines), plugins.CONF))
    for group, section in own.items():
        config[group] = section  # a copy, which is OmegaConf's way
    return config


@lru_cache(maxsize=256)
def _own_section(group: str, name: str, path: Path) -> Any:
    """What a yaml says of its group; None where it chooses others."""
    if "defaults" in read_yaml(group, name):
        return None
    with _one_line(f"{group}={name}"):
        return _section(name, OmegaConf.load(path))


@lru_cache(maxsize=256)
def _by_hydra(choices: tuple[str, ...], conf: Path) -> Any:
    with _one_line(conf.name), initialize_config_dir(config_dir=str(conf), version_base="1.3"):
        config = hydra_compose("config", overrides=list(choices), return_hydra_config=True)
    chosen = dict(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    for group in GROUPS:
        config[group] = _section(chosen[group], config[group])
    OmegaConf.set_struct(config, True)
    return config


def _section(name: str, content: Any) -> Any:
    # What could be chosen, and what it is called, is no part of what is.
    for key in (SEARCH, REPORT):
        content.pop(key, None)
    return OmegaConf.merge({"name": name}, content)


def _set(config: Any, override: Override) -> None:
    key, node = str(override.key_or_group), config
    *parents, leaf = key.split(".")
    for i, part in enumerate([*parents, leaf]):
        if not OmegaConf.is_dict(node) or part not in node:
            valid = set(node) - {"name", "_target_"} if OmegaConf.is_dict(node) else ()
            where = ".".join(parents[:i])
            if where in GROUPS:
                where += f"={node.name}"
            raise unknown("key", part, map(str, valid), where)
        if i < len(parents):
            node = node[part]
    if leaf in ("name", "_target_") or OmegaConf.is_dict(node[leaf]):
        raise UserError(f"'{override.input_line}': {key} is chosen with {key.split('.')[0]}=NAME")
    node[leaf] = override.value()


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Check a configuration's values against the constructors; whole numbers become floats.

    Raises:
        UserError: a key, type or value that is not valid.
    """
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed must be a whole number from 0, got {seed!r}")
    if config["device"] not in DEVICES:
        raise unknown("device", str(config["device"]), DEVICES)
    for group in GROUPS:
        config[group] = checked(group, config[group])
    return config
