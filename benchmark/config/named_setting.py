"""Settings by name: data, model, task and protocol as the literature has them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.config.overrides import parse_overrides
from benchmark.config.plugins import available, yaml_path
from benchmark.config.schema import Schema, load_yaml
from benchmark.utils.errors import UserError, unknown

SETTING = "setting"
_NOT_OF_A_SETTING = ("attack", "defense", "tracking", "seed", SETTING)


@dataclass(frozen=True)
class NamedSetting:
    """What ``setting=NAME`` stands for.

    Attributes:
        name: that of the yaml in ``conf/setting``.
        description: one line.
        overrides: in Hydra's grammar; no attack, no defense, no seed.
    """

    name: str
    description: str
    overrides: list[str]

    @staticmethod
    def read(name: str) -> "NamedSetting":
        """Read ``conf/setting/NAME.yaml``.

        Raises:
            UserError: there is none, or it is not a setting.
        """
        if name not in available(SETTING):
            raise unknown(SETTING, name, available(SETTING))
        raw = load_yaml(yaml_path(SETTING, name))
        fields = raw if isinstance(raw, dict) else {}
        return Schema(NamedSetting).check({"name": name, **fields}, f"setting {name}")

    def __post_init__(self) -> None:
        for override in parse_overrides(self.overrides):
            if _group(str(override.key_or_group)) in _NOT_OF_A_SETTING:
                raise ValueError(f"'{override.input_line}' is no part of a setting")


def expanded(overrides: Sequence[str]) -> list[str]:
    """Overrides with a setting's own in front of them, wherever ``setting=NAME`` stands.

    So the others have the last word. Of an entry that stands beside the setting, too, its keys are
    as the setting has them; what such an entry does not have falls away.

    Raises:
        UserError: there is no such setting, or more than one is named.
    """
    names, others, chosen = [], [], dict[str, str]()
    for override in parse_overrides(overrides):
        key = str(override.key_or_group)
        if key == SETTING:
            names.append(str(override.value()))
        else:
            others.append(str(override.input_line))
            chosen[key] = str(override.value())
    if len(set(names)) > 1:
        raise UserError(f"one setting at a time, got {', '.join(names)}")
    own = NamedSetting.read(names[0]).overrides if names else []
    keys = [str(override.key_or_group) for override in parse_overrides(own)]
    kept = [text for text, key in zip(own, keys, strict=True) if _applies(key, chosen)]
    return kept + others


def _applies(key: str, chosen: Mapping[str, str]) -> bool:
    """Whether what a setting says of a key goes with what was chosen beside it."""
    if key in chosen or _group(key) not in chosen:
        return key not in chosen
    path = yaml_path(_group(key), chosen[_group(key)])
    entry = load_yaml(path) if path.exists() else {}
    return isinstance(entry, dict) and key.split(".")[1] in entry


def _group(key: str) -> str:
    return key.partition(".")[0]
