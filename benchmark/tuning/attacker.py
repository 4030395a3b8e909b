"""The attacker's problem: the strongest backdoor against one defense that nobody notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import config
from benchmark.cell import NOT_IN_THE_RESULT, Cell, is_done, run
from benchmark.errors import UserError
from benchmark.executor import Failed, Finished, Round, Started
from benchmark.record import Record
from benchmark.suite import Watch
from benchmark.tuning.problem import Outcome
from benchmark.tuning.space import Space

UNATTACKED = ["attack=none"]
TOLERANCE = 0.02
"""Main accuracy that an attack may cost, against no attack on the same defense and seeds."""


@dataclass(frozen=True)
class Score:
    """What an attack did, seed by seed; a federation that diverged has 0 of both.

    Attributes:
        backdoor: in-sample backdoor accuracy over the last fifth of the rounds.
        main: main accuracy over the last fifth of the rounds.
        diverged: seeds whose global model stopped being finite.
    """

    backdoor: dict[int, float]
    main: dict[int, float]
    diverged: list[int]


@dataclass(frozen=True)
class Attacker:
    """Chooses an attack and its parameters; all else is given.

    Maximizes the mean over seeds of in-sample backdoor accuracy, subject to a mean main accuracy
    within :data:`TOLERANCE` of the same federations without attack.

    Attributes:
        overrides: the defense, and all else that is not the attacker's to choose.
        seeds: to tune on.
        folder: where the federations' records go.
        space: over every attack that compromises anybody.
        watch: told of every federation.
    """

    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Path
    space: Space
    watch: Watch

    @staticmethod
    def against(
        overrides: Sequence[str], seeds: Sequence[int], folder: Path, watch: Watch
    ) -> "Attacker":
        """The problem that overrides describe.

        Raises:
            UserError: they choose the attack or the seed, which is the study's part, or a yaml
                declares no valid space.
        """
        for override in config.parse(overrides):
            if override.key_or_group.partition(".")[0] == "attack":
                raise UserError(
                    f"'{override.input_line}': the attack is what is tuned; its ranges are the "
                    f"search: of {config.CONF.name}/attack/NAME.yaml"
                )
            if override.key_or_group == "seed":
                raise UserError(f"'{override.input_line}': --seeds says how many are tuned on")
        space = Space.of("attack", families())
        return Attacker(tuple(overrides), tuple(seeds), folder, space, watch)

    def check(self) -> None:
        """Refuse what would refuse in a trial: parts that do not fit each other or the data.

        Raises:
            UserError: says which part.
        """
        # Imported late: Lightning takes seconds, and a wrong name needs none of it.
        from benchmark.training import check

        for attack in [UNATTACKED, *self.fixed()]:
            check(self.cell(attack, self.seeds[0]))

    def describe(self) -> dict[str, Any]:
        """What makes a study this one: other values make another study."""
        unattacked = self.cell(UNATTACKED, self.seeds[0])
        given = {k: v for k, v in unattacked.config.items() if k not in ("attack", "seed")}
        for key in NOT_IN_THE_RESULT:
            group, _, name = key.partition(".")
            if name:
                given[group] = {k: v for k, v in given[group].items() if k != name}
            else:
                del given[group]
        code = {a[0]: self.cell(a, self.seeds[0]).fingerprint for a in [UNATTACKED, *self.fixed()]}
        return {
            "problem": "attacker",
            "space": self.space.describe(),
            "configuration": given,
            "data": unattacked.data_hash,
            "code": code,
            "seeds": list(self.seeds),
            "tolerance": TOLERANCE,
        }

    def fixed(self) -> list[list[str]]:
        """Every attack as its yaml has it."""
        return [[f"attack={family}"] for family in self.space.families]

    def known(self) -> dict[str, dict[str, Any]]:
        """The fixed attacks that lie in the space, as trials' parameters."""
        sections = [config.compose([*self.overrides, *a])["attack"] for a in self.fixed()]
        points = {section["name"]: self.space.point(section) for section in sections}
        return {name: point for name, point in points.items() if point is not None}

    def prepare(self) -> None:
        """Run the federations without attack that trials are held against."""
        self.score(UNATTACKED, self.seeds)

    def evaluate(self, chosen: Sequence[str]) -> Outcome:
        """Run an attack on the seeds."""
        score, honest = self.score(chosen, self.seeds), self.score(UNATTACKED, self.seeds)
        cost = mean(honest.main) - mean(score.main)
        facts = {"main_accuracy": mean(score.main), "diverged": score.diverged}
        return Outcome(mean(score.backdoor), {"main_accuracy": cost - TOLERANCE}, facts)

    def score(self, attack: Sequence[str], seeds: Sequence[int]) -> Score:
        """Run an attack on any seeds, where that is not done yet."""
        records = {seed: self._run(self.cell(attack, seed)) for seed in seeds}
        return Score(
            {seed: _last_fifth(record, "backdoor_in_sample") for seed, record in records.items()},
            {seed: _last_fifth(record, "main_accuracy") for seed, record in records.items()},
            [seed for seed, record in records.items() if record is None],
        )

    def cell(self, attack: Sequence[str], seed: int) -> Cell:
        """One federation under an attack."""
        return Cell.of([*self.overrides, *attack, f"seed={seed}"])

    def _run(self, cell: Cell) -> Record | None:
        """Its record; None if it diverged."""
        try:
            if is_done(cell, self.folder):
                record = Record.read(cell.record_path(self.folder))
                if record.mlflow_run_id is None:
                    # A kill may have come between a record and its run.
                    self.watch(Finished(cell, record))
            else:
                self.watch(Started(cell))
                record = run(cell, self.folder, lambda r, m: self.watch(Round(cell, r, m)))
                self.watch(Finished(cell, record))
        except FloatingPointError as error:
            self.watch(Failed(cell, str(error), ""))
            return None
        return record


def families() -> list[str]:
    """The attacks that compromise anybody."""
    return [
        name
        for name in config.names("attack")
        if config.target("attack", {"name": name, **config.read_yaml("attack", name)}).active  # type: ignore[attr-defined]
    ]


def mean(by_seed: dict[int, float]) -> float:
    """Over seeds."""
    return sum(by_seed.values()) / len(by_seed)


def _last_fifth(record: Record | None, metric: str) -> float:
    value = record.summary[metric].last_fifth if record else None
    return 0.0 if value is None else value
