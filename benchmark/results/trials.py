"""All trials of a study, or of all studies of a race: ``trials.json`` beside the report.

Importing this module imports no Optuna.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.utils.errors import UserError
from benchmark.utils.files import write_json

if TYPE_CHECKING:
    pass

FILE = "trials.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Trial:
    """One trial that is over.

    Attributes:
        number: in the study.
        state: ``complete``, ``pruned`` or ``fail``.
        values: one for each direction; none where the trial has none.
        constraints: name → amount by which it is missed.
        params: parameter → value.
        overrides: what it ran.
        curve: step → what it reported.
    """

    number: int
    state: str
    values: list[float]
    constraints: dict[str, float]
    params: dict[str, Any]
    overrides: list[str]
    curve: dict[int, float]

    @property
    def feasible(self) -> bool:
        """Whether all constraints hold."""
        return all(amount <= 0 for amount in self.constraints.values())


@dataclass(frozen=True)
class Trials:
    """All trials of a study.

    Attributes:
        name: of the study in its storage.
        description: what makes it this study.
        trials: by number.
    """

    name: str
    description: dict[str, Any]
    trials: list[Trial]


def is_study(folder: Path) -> bool:
    """Whether a folder of results is that of a study."""
    return folder.name.startswith("tuning-")


def write(studies: Sequence[Trials], folder: Path) -> Path:
    """Write them; the path."""
    plain = {"schema_version": SCHEMA_VERSION, "studies": [asdict(study) for study in studies]}
    write_json(folder / FILE, plain)
    return folder / FILE


def read(folder: Path) -> list[Trials]:
    """Those of a folder's studies; none where it has no file.

    Raises:
        UserError: the file is damaged, or of another schema.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {raw['schema_version']}")
        return [
            Trials(study["name"], study["description"], [_trial(t) for t in study["trials"]])
            for study in raw["studies"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: no trials of a study ({type(error).__name__}: {error}); the same `tune` "
            "command writes them again"
        ) from None


def _trial(raw: dict[str, Any]) -> Trial:
    return Trial(**{**raw, "curve": {int(step): value for step, value in raw["curve"].items()}})
