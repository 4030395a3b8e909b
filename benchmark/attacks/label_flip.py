"""Flipped labels: honest training on what is wrong."""

from dataclasses import replace

from torch import Tensor

from benchmark.attacks.base import Attack, AttackSetting, CompromisedClient
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import at_least


class LabelFlip(Attack):
    """Trains as the protocol says on its own images, y labelled C − 1 − y; or source as target.

    Args:
        source: the class whose images are labelled as ``target``; null: all classes are mirrored.
        target: the label that they get; given with ``source``.

    Raises:
        ValueError: one of both is given, or a class that there is not.
    """

    paper = (
        "Tolpegin et al. 2020, arXiv 2007.08432; Karimireddy et al. 2022, arXiv 2006.09365, code"
    )
    goal = "untargeted"

    def __init__(self, source: int | None = None, target: int | None = None):
        super().__init__()
        if (source is None) != (target is None):
            raise ValueError(f"source and target go together, got {source} and {target}")
        for name, value in (("source", source), ("target", target)):
            if value is not None:
                at_least(name, 0, value)
        self.source, self.target = source, target
        self.num_classes = 0

    def setup(self, setting: AttackSetting) -> None:
        """Count the classes, which are the last layer's outputs.

        Raises:
            ValueError: ``source`` or ``target`` is none of them.
        """
        super().setup(setting)
        self.num_classes = next(x.shape[0] for x in setting.layers if x.is_output)
        for name, value in (("source", self.source), ("target", self.target)):
            if value is not None and value >= self.num_classes:
                raise ValueError(f"{name} must be 0 to {self.num_classes - 1}, got {value}")

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane, wrongly labelled."""
        lane = client.honest_lane()
        return [replace(lane, labels=self.flipped(lane.labels))]

    def flipped(self, labels: Tensor) -> Tensor:
        """What images of these classes are labelled as."""
        if self.source is None or self.target is None:
            return self.num_classes - 1 - labels
        return labels.where(labels != self.source, self.target)
