"""What a leaderboard is made of. Accuracies are shares in [0, 1]; seconds are seconds."""

from dataclasses import dataclass
from typing import Literal

from benchmark.results.searches import Tuned
from benchmark.results.settings import Setting
from benchmark.results.statistics import Estimate

Status = Literal["ranked", "incomplete", "below the gate", "collapsed"]


@dataclass(frozen=True)
class Run:
    """One seed of a cell, and how to get at it.

    Attributes:
        cell: the record's id.
        record: file of the record, relative to the leaderboard.
        mlflow_run_id: None while the run is not tracked.
        command: repeats the run.
        main, in_sample, held_out: means over the last fifth of the rounds.
        below_gate: whether this run alone is below the gate.
    """

    cell: str
    seed: int
    record: str
    mlflow_run_id: str | None
    command: str
    main: float | None
    in_sample: float | None
    held_out: float | None
    below_gate: bool


@dataclass(frozen=True)
class Matchup:
    """One attack on one defense, over seeds; None where no run measured it.

    Attributes:
        main, in_sample, held_out: main accuracy, backdoor accuracy on the adversary's own images
            and on unseen ones; means over the last fifth of the rounds.
        final_main, final_in_sample, final_held_out: the same after the last round.
        lift, lift_held_out: backdoor accuracy minus that of the unattacked run under the same
            defense, paired by seed.
        cost: what honest target users lose: source accuracy on their held-out images,
            unattacked and undefended, minus that of this cell, paired by seed.
        seconds: median over runs of each one's median seconds a round.
        runs: by seed.
        missing: seeds that other cells of the setting have and this one has not.
    """

    attack: str
    defense: str
    main: Estimate | None
    in_sample: Estimate | None
    held_out: Estimate | None
    final_main: Estimate | None
    final_in_sample: Estimate | None
    final_held_out: Estimate | None
    lift: Estimate | None
    lift_held_out: Estimate | None
    cost: Estimate | None
    seconds: float | None
    runs: list[Run]
    missing: list[int]


def score(cell: Matchup | None, metric: str) -> Estimate | None:
    """A score of a cell that may not be there."""
    return None if cell is None else getattr(cell, metric)


@dataclass(frozen=True)
class DefenseRow:
    """A defense at its worst: numbers belong to the attack that got most in.

    Attributes:
        rank: from 1; None unless the status is ``ranked``.
        reason: why it is not ranked; empty if it is.
        worst_attack: the one with the highest mean in-sample backdoor accuracy.
        worst: the cell of that attack.
        unattacked: the cell without an attack.
        flagged: number of its runs below the gate.
        missing: number of its runs that other defenses have.
        seconds: median seconds a round, over all its runs.
        seeds: the fewest seeds among its cells.
        tuned: the attacker that was tuned against it; None if nobody did.
    """

    rank: int | None
    defense: str
    status: Status
    reason: str
    worst_attack: str | None
    worst: Matchup | None
    unattacked: Matchup | None
    flagged: int
    missing: int
    seconds: float | None
    seeds: int
    tuned: Tuned | None = None


@dataclass(frozen=True)
class AttackRow:
    """What an attack achieves over the defenses whose model is sound before it comes.

    Attributes:
        rank: from 1; None if it was not run on every defense.
        lift: mean over those defenses, then over seeds.
        undefended: its cell against the undefended server.
        best_defense, worst_defense: against which it achieves least and most (in-sample).
        successes: number of those defenses with in-sample backdoor accuracy above ``SUCCESS``.
        defenses: number of those defenses.
        missing: number of its runs that other attacks have.
    """

    rank: int | None
    attack: str
    reason: str
    lift: Estimate | None
    undefended: Matchup | None
    best_defense: Matchup | None
    worst_defense: Matchup | None
    successes: int
    defenses: int
    missing: int


@dataclass(frozen=True)
class Section:
    """The leaderboard of one setting.

    Attributes:
        unattacked: label of the attack ``none``; None if nothing was run without an attack.
        undefended: label of the defense ``mean``; None if nothing was run without a defense.
        reference: main accuracy, unattacked and undefended.
        floor: the gate: ``reference − GATE``.
        attacks, defenses: all labels, the do-nothing ones first.
        cells: the full matrix, by defense and attack; a cell that was never run has no runs.
        environment: ``engine``, ``device``, ``precision`` → the values met.
        notes: what a reader must know, from the records and from this section.
    """

    setting: Setting
    unattacked: str | None
    undefended: str | None
    reference: Estimate | None
    floor: float | None
    seeds: list[int]
    attacks: list[str]
    defenses: list[str]
    defense_rows: list[DefenseRow]
    attack_rows: list[AttackRow]
    cells: list[Matchup]
    environment: dict[str, list[str]]
    notes: list[str]

    def cell(self, attack: str, defense: str) -> Matchup:
        """One entry of the matrix."""
        return next(c for c in self.cells if (c.attack, c.defense) == (attack, defense))

    def position(self, attack: str) -> int:
        """Of an attack in figures and legends: from 1; 0 is the unattacked run's."""
        return self.attacks.index(attack) + (self.unattacked is None)

    @property
    def tuned(self) -> list[tuple[str, Tuned]]:
        """The defenses that an attacker was tuned against, and how."""
        return [(row.defense, row.tuned) for row in self.defense_rows if row.tuned]

    @property
    def num_missing(self) -> int:
        """Runs that are missing from the full grid of attacks, defenses and seeds."""
        return sum(len(c.missing) for c in self.cells)


@dataclass(frozen=True)
class Leaderboard:
    """One section for each setting."""

    name: str
    sections: list[Section]
