"""Ensembles of attacks, so that "robust under standard-1" is a sentence that two papers share."""

from dataclasses import dataclass

from benchmark.config.plugins import available, yaml_path
from benchmark.config.schema import Schema, load_yaml
from benchmark.utils.errors import unknown

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
        raw = load_yaml(yaml_path(ENSEMBLE, name))
        fields = raw if isinstance(raw, dict) else {}
        return Schema(Ensemble).check({"name": name, **fields}, f"ensemble {name}")

    def __post_init__(self) -> None:
        if len(self.attacks) < 2:
            raise ValueError("an ensemble holds two attacks or more")
        for attack in self.attacks:
            if attack not in available("attack"):
                raise unknown("attack", attack, available("attack"))


def complete(attacks: list[str]) -> Ensemble | None:
    """The last ensemble, by name, all of whose attacks are among these."""
    found = [Ensemble.read(name) for name in available(ENSEMBLE)]
    return next((e for e in reversed(found) if {*e.attacks} <= {*attacks}), None)
