"""The federations behind a trial: run where that is not done yet, and scored seed by seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.cell import NOT_IN_THE_RESULT, Cell, is_done, run
from benchmark.executor import Failed, Finished, Round, Started
from benchmark.record import Record
from benchmark.suite import Watch

OnRound = Callable[[int, dict[str, float]], None]
"""Told of every round of a trial, counted over its federations, with the round's metrics."""

UNATTACKED = ["attack=none"]
UNDEFENDED = ["defense=mean"]
TOLERANCE = 0.02
"""Main accuracy that an attack or a defense may cost."""


def untold(round: int, metrics: dict[str, float]) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Score:
    """What an attack did to a defense, seed by seed; a federation that diverged has 0 of both.

    Attributes:
        backdoor: in-sample backdoor accuracy over the last fifth of the rounds.
        main: main accuracy over the last fifth of the rounds.
        diverged: seeds whose global model stopped being finite.
    """

    backdoor: dict[int, float]
    main: dict[int, float]
    diverged: list[int]


@dataclass(frozen=True)
class Federations:
    """Runs federations that differ in attack, defense and seed alone.

    Attributes:
        overrides: all else.
        folder: where their records go.
        watch: told of every federation.
    """

    overrides: tuple[str, ...]
    folder: Path
    watch: Watch

    def score(
        self, chosen: Sequence[str], seeds: Sequence[int], on_round: OnRound = untold
    ) -> Score:
        """Run a choice of attack and defense on some seeds, where that is not done yet.

        Args:
            chosen: overrides.
            seeds: one federation each.
            on_round: told of every round that is run.
        """
        records = {
            seed: self._run(self.cell(chosen, seed), i, on_round) for i, seed in enumerate(seeds)
        }
        return Score(
            {seed: _last_fifth(record, "backdoor_in_sample") for seed, record in records.items()},
            {seed: _last_fifth(record, "main_accuracy") for seed, record in records.items()},
            [seed for seed, record in records.items() if record is None],
        )

    def cell(self, chosen: Sequence[str], seed: int) -> Cell:
        """One federation."""
        return Cell.of([*self.overrides, *chosen, f"seed={seed}"])

    def _run(self, cell: Cell, before: int, on_round: OnRound) -> Record | None:
        """Its record; None if it diverged. ``before``: federations of the trial before it."""

        def watch(round: int, metrics: dict[str, float]) -> None:
            self.watch(Round(cell, round, metrics))
            on_round(before * cell.rounds + round, metrics)

        try:
            if is_done(cell, self.folder):
                record = Record.read(cell.record_path(self.folder))
                if record.mlflow_run_id is None:
                    # A kill may have come between a record and its run.
                    self.watch(Finished(cell, record))
            else:
                self.watch(Started(cell))
                record = run(cell, self.folder, watch)
                self.watch(Finished(cell, record))
        except FloatingPointError as error:
            self.watch(Failed(cell, str(error), ""))
            return None
        return record


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


def mean(by_seed: dict[int, float]) -> float:
    """Over seeds."""
    return sum(by_seed.values()) / len(by_seed)


def _last_fifth(record: Record | None, metric: str) -> float:
    value = record.summary[metric].last_fifth if record else None
    return 0.0 if value is None else value
