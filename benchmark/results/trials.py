"""All trials of a study, or of all studies of a race: ``trials.json`` beside the report.

Importing this module imports no Optuna.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.config.schema import VERSION, Schema
from benchmark.utils.files import write_json

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


@dataclass(frozen=True)
class TrialsFile:
    """All that stands in one."""

    studies: list[Trials]
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)


def write(studies: Sequence[Trials], folder: Path) -> Path:
    """Write them; the path."""
    plain = {VERSION: SCHEMA_VERSION, "studies": [asdict(study) for study in studies]}
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
    mend = "the same `tune` command writes them again"
    return Schema(TrialsFile, "no trials of a study", mend).read(path).studies
