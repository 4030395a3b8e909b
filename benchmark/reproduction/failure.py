"""A federation that gave no record."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a federation gave no record.

    Attributes:
        seed, config: as a record has them.
        reason: one line.
    """

    seed: int
    config: dict[str, Any]
    reason: str

    @property
    def diverged(self) -> bool:
        """Whether the model did not stay finite: a finding, and not an accident."""
        return self.reason.startswith(FloatingPointError.__name__)
