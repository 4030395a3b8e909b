"""Which studies complete a suite's leaderboard: ``conf/tuning``, and their part of params.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.config.compose import compose, read_yaml
from benchmark.config.plugins import available
from benchmark.config.schema import Schema

DEFAULT = "default"


@dataclass(frozen=True)
class StudySettings:
    """Studies of attackers with one budget.

    Attributes:
        studies: name → overrides that choose a defense; all else is the suite's.
        trials, seeds, fresh, best, sampler: of each, as the options of ``tune`` have them.
    """

    studies: dict[str, list[str]]
    trials: int
    seeds: int
    fresh: int
    best: int
    sampler: str

    @staticmethod
    def read(suite: str) -> "StudySettings":
        """Those of ``conf/tuning/SUITE.yaml``, and of ``default.yaml`` where there is none.

        Raises:
            UserError: they are none.
        """
        name = suite if suite in available("tuning") else DEFAULT
        content = {k: v for k, v in read_yaml("tuning", name).items() if k != "description"}
        return StudySettings.of(content, f"tuning {name}")

    @staticmethod
    def of(raw: Any, where: str) -> "StudySettings":
        """Check the parts.

        Raises:
            UserError: a part is missing, not of its type, or another.
        """
        return Schema(StudySettings).check(raw, where)

    def __post_init__(self) -> None:
        if not self.studies or not all(self.studies.values()):
            raise ValueError(
                "studies must map names to lists of overrides such as "
                f"[defense=norm_clip, defense.norm_bound=1.0], got {self.studies!r}"
            )


def study_name(overrides: Sequence[str]) -> str:
    """Of a study that nobody named: ``attack-on-DEFENSE``, then each parameter that differs.

    So the same defense with another parameter is another study:
    ``attack-on-norm_clip-norm_bound-1.0``.
    """
    chosen = compose(overrides)["defense"]
    plain = compose([f"defense={chosen['name']}"])["defense"]
    words = ["attack-on", chosen["name"]]
    for key, value in chosen.items():
        if value != plain[key]:
            words += [key, "".join(c if c.isalnum() or c in "._-" else "_" for c in str(value))]
    return "-".join(words)
