"""The federations behind a trial, scored seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.config.overrides import parse_overrides
from benchmark.federation.protocol import MeasuredOn
from benchmark.results.measures import last_fifth
from benchmark.run.cell import NOT_IN_THE_RESULT, Cell
from benchmark.run.record import Record
from benchmark.tuning.problem import Strategy
from benchmark.tuning.workplace import Workplace
from benchmark.utils.errors import UserError

MEASURED_ON = "federation.measured_on"
UNATTACKED: Strategy = ("attack=none",)
UNDEFENDED: Strategy = ("defense=mean",)


@dataclass(frozen=True)
class SeedScores:
    """What an attack did to a defense, seed by seed; a federation that diverged has 0 of each.

    Attributes:
        backdoor: in-sample backdoor accuracy over the last fifth of the rounds.
        held_out: held-out backdoor accuracy over the last fifth of the rounds; without seeds
            whose target users have no unseen image.
        main: main accuracy over the last fifth of the rounds.
        diverged: seeds whose global model stopped being finite.
    """

    backdoor: dict[int, float]
    held_out: dict[int, float]
    main: dict[int, float]
    diverged: list[int]


@dataclass(frozen=True)
class Federations:
    """Runs federations that differ in attack, defense and seed alone.

    Attributes:
        overrides: all else.
        at: where they run.
        measured_on: the half of the users whose target users and test images count.
        cells: by all their overrides, those composed before; copies of this share them.

    Raises:
        UserError: the overrides choose what is a search's own to choose.
    """

    overrides: tuple[str, ...]
    at: Workplace
    measured_on: MeasuredOn = "validation"
    cells: dict[tuple[str, ...], Cell] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for override in parse_overrides(self.overrides):
            if override.key_or_group == "seed":
                raise UserError(f"'{override.input_line}': --seeds says how many are tuned on")
            if override.key_or_group == MEASURED_ON:
                raise UserError(
                    f"'{override.input_line}': a search is on the validation half of the users "
                    "and is judged on the test half"
                )

    def on_test(self) -> "Federations":
        """The same on the other half of the users."""
        return replace(self, measured_on="test")

    @property
    def common(self) -> tuple[str, ...]:
        """The overrides that all of them have."""
        return (*self.overrides, f"{MEASURED_ON}={self.measured_on}")

    def run(self, choices: Sequence[Sequence[str]], seeds: Sequence[int]) -> None:
        """Run federations that have no record, so that :meth:`score` finds them.

        Args:
            choices: overrides, of one or several choices of attack and defense.
            seeds: for each choice.
        """
        self.at.finish([self.cell(chosen, seed) for chosen in choices for seed in seeds])

    def score(self, chosen: Sequence[str], seeds: Sequence[int]) -> SeedScores:
        """What the records of a choice of attack and defense say.

        Args:
            chosen: overrides.
            seeds: one federation each.
        """
        records = {
            seed: Record.read(self.cell(chosen, seed).record_path(self.at.folder)) for seed in seeds
        }

        def over_seeds(metric: str) -> dict[int, float | None]:
            return {s: 0.0 if r.diverged else last_fifth(r, metric) for s, r in records.items()}

        held_out = over_seeds("backdoor_held_out")
        return SeedScores(
            {seed: value or 0.0 for seed, value in over_seeds("backdoor_in_sample").items()},
            {seed: value for seed, value in held_out.items() if value is not None},
            {seed: value or 0.0 for seed, value in over_seeds("main_accuracy").items()},
            [seed for seed, record in records.items() if record.diverged],
        )

    def honest(self, chosen: Sequence[str], seeds: Sequence[int]) -> SeedScores:
        """The score of federations that others are held against.

        Raises:
            UserError: one diverges: beside it nothing would cost anything.
        """
        score = self.score(chosen, seeds)
        if score.diverged:
            raise UserError(
                f"{' '.join(chosen)}, seed {score.diverged[0]}: the model diverges without being "
                "attacked, so there is no main accuracy to keep"
            )
        return score

    def cell(self, chosen: Sequence[str], seed: int) -> Cell:
        """One federation."""
        # A trial asks for the same cells many times, and composing one takes long.
        overrides = (*self.common, *chosen, f"seed={seed}")
        if overrides not in self.cells:
            self.cells[overrides] = Cell.of(overrides)
        return self.cells[overrides]


def parted(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Overrides of the ``attack``, of the ``defense`` and of all ``else``."""
    found: dict[str, list[str]] = {"attack": [], "defense": [], "else": []}
    for override in parse_overrides(overrides):
        group = override.key_or_group.partition(".")[0]
        found[group if group in found else "else"].append(str(override.input_line))
    return found


def given(cell: Cell, searched: str) -> dict[str, Any]:
    """What a study is given: a cell's configuration without the seed and the searched group.

    What changes no number is left out too.
    """
    kept = {k: v for k, v in cell.config.items() if k not in (searched, "seed")}
    for key in NOT_IN_THE_RESULT:
        group, _, name = key.partition(".")
        if name:
            kept[group] = {k: v for k, v in kept[group].items() if k != name}
        else:
            del kept[group]
    return kept
