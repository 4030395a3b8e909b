"""Ensembles of attacks, so that "robust under standard-1" is a sentence that two papers share."""

from contextlib import suppress
from dataclasses import dataclass

from benchmark.config.compose import read_yaml
from benchmark.config.plugins import available
from benchmark.config.schema import Schema
from benchmark.utils.errors import UserError, unknown

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Ensemble:
    """Attacks whose worst counts, defense by defense and seed by seed.

    What belongs to a name never changes: another list has another number.

    Attributes:
        name: that of the yaml in ``conf/ensemble``.
        description: one line.
        attacks: each with the parameters of its yaml.
    """

    name: str
    description: str
    attacks: list[str]

    @staticmethod
    def read(name: str) -> "Ensemble":
        """Read ``conf/ensemble/NAME.yaml``.

        Raises:
            UserError: there is none, or it is not an ensemble.
        """
        if name not in available(ENSEMBLE):
            raise unknown(ENSEMBLE, name, available(ENSEMBLE))
        raw = {"name": name, **read_yaml(ENSEMBLE, name)}
        return Schema(Ensemble).check(raw, f"ensemble {name}")

    def __post_init__(self) -> None:
        if len(self.attacks) < 2:
            raise ValueError("an ensemble holds two attacks or more")
        for attack in self.attacks:
            if attack not in available("attack"):
                raise unknown("attack", attack, available("attack"))


def complete(attacks: list[str]) -> Ensemble | None:
    """The last ensemble, by name, all of whose attacks are among these.

    One that is none, or has an attack that is not here, breaks nothing but itself.
    """
    for name in reversed(available(ENSEMBLE)):
        with suppress(UserError):
            found = Ensemble.read(name)
            if {*found.attacks} <= {*attacks}:
                return found
    return None
