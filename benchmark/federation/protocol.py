"""How a federation runs, whatever the attack and the defense."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.data.augmentation import Augmentation
from benchmark.models.normalize import Normalize
from benchmark.utils.checks import at_least, at_most, one_of, positive

Weighting = Literal["uniform", "examples"]
MeasuredOn = Literal["all", "validation", "test"]
RootFrom = Literal["all", "not_targets"]
MOST = 1_000_000


@dataclass(frozen=True)
class Protocol:
    """How the federation runs: FedAvg's knobs, the same for every attack and defense.

    Attributes:
        rounds: T.
        clients_per_round: K, the cohort; 30 in the paper.
        replacement: whether a cohort is drawn with replacement, as in the paper's code.
        weighting: ``uniform`` (the paper's code) or ``examples``, n_k-weighted (its formula).
        local_epochs: passes over the local data; 5 in the paper.
        batch_size: B; 20 in the paper.
        client_lr: learning rate of local SGD; 0.1 in the paper.
        server_lr: η, learning rate of the server's SGD; 1.0 in the paper.
        evaluate_every: rounds between evaluations on the test set; the last is always
            evaluated, and backdoor accuracy in every round.
        checkpoint_every: rounds between checkpoints.
        part_size: how many honest clients are trained and aggregated at a time, for cohorts larger
            than memory and defenses that need each update once; 0 for all at once.
        measured_on: whose target users and test images count: ``all`` users', or those of one of
            two fixed halves, ``validation`` or ``test``, for searches. Everybody takes part.
        root_images: how many training images the server has of its own, taken from the users;
            20 to 1,000 for a defense that needs them, else 0.
        root_from: whose they were: ``all`` users', or ``not_targets``, who own no image of the
            adversary's. Of semantic backdoors this may decide.
        pixel_mean, pixel_std: of each channel, of pixels in [0, 1]: what the model's first layer
            makes 0 and 1 of; None gives it pixels as they are.
        crop_padding: training sees every image shifted by up to so many pixels each way, black
            beyond its border; 4 for images of 32 × 32, else 0.
        flip: whether training sees images mirrored, left to right, every other time.

    Raises:
        ValueError: a number out of its range, or a mean without a deviation.
    """

    rounds: int
    clients_per_round: int
    replacement: bool
    weighting: Weighting
    local_epochs: int
    batch_size: int
    client_lr: float
    server_lr: float
    evaluate_every: int
    checkpoint_every: int
    measured_on: MeasuredOn
    part_size: int = 0
    root_images: int = 0
    root_from: RootFrom = "all"
    pixel_mean: Sequence[float] | None = None
    pixel_std: Sequence[float] | None = None
    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        for name in (
            "rounds",
            "clients_per_round",
            "local_epochs",
            "batch_size",
            "evaluate_every",
            "checkpoint_every",
        ):
            at_most(name, MOST, at_least(name, 1, getattr(self, name)))
        for name in ("client_lr", "server_lr"):
            positive(name, getattr(self, name))
        one_of("weighting", Weighting, self.weighting)
        one_of("measured_on", MeasuredOn, self.measured_on)
        for name in ("part_size", "root_images"):
            at_most(name, MOST, at_least(name, 0, getattr(self, name)))
        one_of("root_from", RootFrom, self.root_from)
        if (self.pixel_mean is None) != (self.pixel_std is None):
            raise ValueError("pixel_mean and pixel_std belong together: both, or neither")
        if self.pixel_mean is not None and self.pixel_std is not None:
            Normalize(self.pixel_mean, self.pixel_std)
        assert self.augmentation

    @property
    def augmentation(self) -> Augmentation:
        """How training sees images."""
        return Augmentation(self.crop_padding, self.flip)
