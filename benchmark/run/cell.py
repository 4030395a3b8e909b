"""One federation from configuration to record."""

import copy
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.config.compose import check, composed
from benchmark.config.overrides import GROUPS
from benchmark.config.plugins import origin
from benchmark.run.partitioning import partitioned, there
from benchmark.utils import fingerprint
from benchmark.utils.nested import digest, flat
from benchmark.utils.urls import concealed

# What these say changes no number, so cells that differ in them alone are the same cell.
NOT_IN_THE_RESULT = (
    "tracking",
    "data.path",
    "data.url",
    "engine.workers",
    "engine.address",
    "engine.actors",
    "engine.num_cpus",
    "federation.checkpoint_every",
)

_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

ALWAYS_USED = (
    "benchmark.run.assembly.build",
    "benchmark.run.recorder.Recorder",
    "benchmark.run.recorder.summarize",
    "benchmark.run.prefix.Onlooker",
    "benchmark.run.prefix.adopt",
    "benchmark.run.prefix.without_attack",
    "benchmark.run.trainer.fit",
)
"""Code that the numbers of every cell depend on."""


@dataclass(frozen=True)
class Cell:
    """A federation to run.

    Attributes:
        overrides: what was chosen on top of ``conf/``.
        config: the resolved configuration.
        data: folder of its partitioned data.
        data_hash: content hash of that.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    data: Path
    data_hash: str

    @staticmethod
    def of(overrides: Sequence[str], folder: Path | None = None) -> "Cell":
        """Compose, check, and partition the data where that is not done yet.

        Args:
            overrides: in Hydra's grammar.
            folder: results. A cell that has its record there is found without importing what
                checks its values, which takes seconds: a record holds them as they were checked.

        Raises:
            UserError: the configuration or the data is not valid.
        """
        wanted, told = composed(overrides), tuple(map(concealed, overrides))
        for path, recorded in _recorded(wanted, folder) if folder else ():
            if _is_checked(wanted, recorded) and (data := there(recorded)):
                cell = Cell(told, recorded, *data)
                if cell.id == path.stem:
                    return cell
        resolved = check(wanted)
        return Cell(told, resolved, *partitioned(resolved))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the code that this cell's numbers depend on."""
        return self._fingerprint(())

    @cached_property
    def id(self) -> str:
        """``attack-defense-s<seed>-<hash>`` of configuration, data and code."""
        names = (self.config["attack"]["name"], self.config["defense"]["name"])
        return f"{'-'.join(names)}-s{self.seed}-{self.digest()}"

    def digest(self, *without: str) -> str:
        """Hash of configuration, data and code; those of some groups may be left out."""
        relevant = copy.deepcopy(self.config)
        for key in (*NOT_IN_THE_RESULT, *without):
            group, _, name = key.partition(".")
            (relevant[group].pop(name, None) if name else relevant.pop(group))
        code = self._fingerprint(without) if without else self.fingerprint
        return digest([relevant, self.data_hash, code], 12)

    def _fingerprint(self, without: Sequence[str]) -> str:
        unused = ("data", "partition", "tracking", *without)
        chosen = {g: self.config[g] for g in GROUPS if g not in unused}
        # A plug-in may hold another one, or code that it names as module:Class.
        targets = [value for key, value in flat(chosen) if key.endswith("._target_")]
        targets += [v.replace(":", ".") for _, v in flat(chosen) if _CODE.fullmatch(str(v))]
        return fingerprint.fingerprint([*ALWAYS_USED, *targets])

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.config["seed"]

    @property
    def code(self) -> dict[str, str]:
        """What ran: version of the package, :attr:`fingerprint`, and where plug-ins come from."""
        origins = {group: origin(group, self.config[group]["name"]) for group in GROUPS}
        known = {"version": __version__, "fingerprint": self.fingerprint}
        return known | {group: where for group, where in origins.items() if where}

    @property
    def rounds(self) -> int:
        """T."""
        return self.config["federation"]["rounds"]

    def record_path(self, folder: Path) -> Path:
        """Where the record lies in a suite's results."""
        return folder / "records" / f"{self.id}.json"

    def weights_path(self, folder: Path) -> Path:
        """Where the final global model lies, a ``state_dict``."""
        return folder / "weights" / f"{self.id}.pt"

    def work_path(self, folder: Path) -> Path:
        """Where checkpoints lie until the record does."""
        return folder / "work" / self.id

    def lock_path(self, folder: Path) -> Path:
        """What the process that runs the cell holds."""
        return folder / "work" / f"{self.id}.lock"


def _recorded(wanted: dict[str, Any], folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Records that could be of a cell, with their configurations."""
    names = (wanted["attack"]["name"], wanted["defense"]["name"], f"s{wanted['seed']}")
    for path in (folder / "records").glob(f"{'-'.join(names)}-*.json"):
        # One that is damaged is met again, and named, where it is read for its result.
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            yield path, json.loads(path.read_bytes())["config"]


def _is_checked(given: Any, checked: Any) -> bool:
    """Whether a check would make that of what was given: a whole number may become a float."""
    if isinstance(given, dict) and isinstance(checked, dict):
        same = given.keys() == checked.keys()
        return same and all(_is_checked(value, checked[key]) for key, value in given.items())
    if isinstance(given, list) and isinstance(checked, list):
        return len(given) == len(checked) and all(map(_is_checked, given, checked))
    kinds = (type(given), type(checked))
    return kinds in ((int, float), (type(given), type(given))) and given == checked
