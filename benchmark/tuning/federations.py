"""The federations behind a trial: run where that is not done yet, and scored seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.config.compose import parse_overrides
from benchmark.federation.protocol import MeasuredOn
from benchmark.results.measures import last_fifth
from benchmark.run.cell import NOT_IN_THE_RESULT, Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.run.executors.local import LocalExecutor
from benchmark.run.record import Record
from benchmark.run.recorder import recorded
from benchmark.run.runner import StoppedError, is_done, run
from benchmark.run.suite import Watch, failure_path
from benchmark.tuning.problem import Strategy
from benchmark.tuning.rounds import OnRound, Told, untold
from benchmark.utils.errors import UserError
from benchmark.utils.files import atomic_file

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
        folder: where their records go.
        watch: told of every federation.
        measured_on: the half of the users whose target users and test images count.
        cells: by all their overrides, those composed before; copies of this share them.

    Raises:
        UserError: the overrides choose what is a search's own to choose.
    """

    overrides: tuple[str, ...]
    folder: Path
    watch: Watch
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

    def run_ahead(
        self, choices: Sequence[Sequence[str]], seeds: Sequence[int], workers: int
    ) -> None:
        """Run federations beside each other, so that :meth:`score` finds them done.

        Args:
            choices: overrides, of one or several choices of attack and defense.
            seeds: for each choice.
            workers: processes; with one, nothing is run ahead.
        """
        cells = {cell.id: cell for c in choices for s in seeds for cell in [self.cell(c, s)]}
        waiting = [cell for cell in cells.values() if not is_done(cell, self.folder)]
        if workers == 1 or not waiting:
            return
        for event in LocalExecutor(workers).run(waiting, self.folder):
            self._tell(event)

    def score(
        self, chosen: Sequence[str], seeds: Sequence[int], on_round: OnRound = untold
    ) -> SeedScores:
        """Run a choice of attack and defense on some seeds, where that is not done yet.

        Args:
            chosen: overrides.
            seeds: one federation each.
            on_round: told of every round that is run.
        """
        records = {
            seed: self._run(self.cell(chosen, seed), i, on_round) for i, seed in enumerate(seeds)
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

    def _run(self, cell: Cell, before: int, on_round: OnRound) -> Record:
        """Its record. ``before``: federations of the trial before it."""
        told = Told(on_round, before * cell.rounds)
        if is_done(cell, self.folder):
            record = Record.read(cell.record_path(self.folder))
            if record.mlflow_run_id is None:
                # A kill may have come between a record and its run.
                self._tell(Finished(cell, record))
        else:

            def watch(round: int, metrics: dict[str, float]) -> None:
                if told.next < round:
                    # Read now: before the cell is ours, another process may still bring it on.
                    told.earlier(recorded(cell.work_path(self.folder)), round)
                self._tell(Round(cell, round, metrics))
                told.now(round, metrics)

            self._tell(Started(cell))
            try:
                record = run(cell, self.folder, watch)
            except StoppedError as stop:
                self._tell(Stopped(cell, str(stop)))
                raise
            self._tell(Finished(cell, record))
        told.earlier(record.curves, cell.rounds)
        return record

    def _tell(self, event: Event) -> None:
        self.watch(event)
        path = failure_path(event.cell, self.folder)
        if isinstance(event, Failed):
            with atomic_file(path) as beside:
                beside.write_text(f"{event.reason}\n\n{event.details}", encoding="utf-8")
        elif isinstance(event, Finished):
            path.unlink(missing_ok=True)


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
