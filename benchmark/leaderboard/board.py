"""What a leaderboard is made of. Accuracies are shares in [0, 1]; seconds are seconds."""

from dataclasses import dataclass
from typing import Literal

from benchmark.results.gates import GATE
from benchmark.results.searches import Tuned
from benchmark.results.settings import Setting
from benchmark.results.statistics import Estimate

Status = Literal["ranked", "at the gate", "incomplete", "below the gate", "collapsed", "diverged"]


@dataclass(frozen=True)
class Run:
    """One seed of a cell, and how to get at it.

    Attributes:
        cell: the record's id.
        record: file of the record, relative to the leaderboard.
        mlflow_run_id: None while the run is not tracked.
        command: repeats the run.
        main, in_sample, held_out: means over the last fifth of the rounds; 0 and None where the
            model diverged.
        seconds: median over rounds.
        diverged_round: in which its model stopped being finite; None where it did not.
        all_rejected: in how many rounds the defense rejected everybody, so that the model stayed
            as it was; None where it judges nobody.
        below_gate: whether this run alone loses more main accuracy than the gate allows.
    """

    cell: str
    seed: int
    record: str
    mlflow_run_id: str | None
    command: str
    main: float | None
    in_sample: float | None
    held_out: float | None
    seconds: float | None
    diverged_round: int | None
    all_rejected: int | None
    below_gate: bool

    @property
    def remark(self) -> str:
        """What must be said of it; empty for most."""
        if self.diverged_round is not None:
            return f"diverged in round {self.diverged_round}"
        told = ["below the gate"] if self.below_gate else []
        if self.all_rejected:
            told.append(f"everybody rejected in {counted(self.all_rejected, 'round')}")
        return ", ".join(told)


@dataclass(frozen=True)
class Matchup:
    """One attack on one defense, over seeds; None where no run measured it.

    Attributes:
        main, in_sample, held_out: main accuracy, backdoor accuracy on the adversary's own images
            and on unseen ones; means over the last fifth of the rounds.
        final_main, final_in_sample, final_held_out: the same after the last round.
        lift, lift_held_out: backdoor accuracy minus that of the unattacked run under the same
            defense, paired by seed.
        loss: main accuracy, unattacked and undefended, minus that of this cell, paired by seed:
            what the gate judges.
        cost: the same of what honest target users have: source accuracy on their held-out images.
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
    loss: Estimate | None
    cost: Estimate | None
    seconds: float | None
    runs: list[Run]
    missing: list[int]

    @property
    def diverged(self) -> int:
        """Number of its runs that did."""
        return sum(run.diverged_round is not None for run in self.runs)


def score(cell: Matchup | None, metric: str) -> Estimate | None:
    """A score of a cell that may not be there."""
    return None if cell is None else getattr(cell, metric)


def counted(n: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{n} {noun}{'s' * (n != 1)}"


@dataclass(frozen=True)
class DefenseRow:
    """A defense at its worst: numbers belong to the attack that got most in.

    Attributes:
        rank: from 1; None unless the status is ``ranked``.
        reason: why it is not ranked; empty if it is.
        worst: the cell of the attack with the highest mean in-sample backdoor accuracy.
        unattacked: the cell without an attack.
        dearest: the cell whose interval of lost main accuracy reaches highest.
        flagged, diverged: number of its runs below the gate, and of those that diverged.
        all_rejected: rounds of its runs in which it rejected everybody.
        missing: number of its runs that other defenses have.
        seconds: median over its runs of each one's median seconds a round.
        seeds: the fewest seeds among its cells.
        tuned: the attacker that was tuned against it; None if nobody did.
        ensemble: mean over seeds of the highest in-sample backdoor accuracy that an attack of the
            section's ensemble reached with that seed; None where one of them was not run.
    """

    rank: int | None
    defense: str
    status: Status
    reason: str
    worst: Matchup | None
    unattacked: Matchup | None
    dearest: Matchup | None
    flagged: int
    diverged: int
    all_rejected: int
    missing: int
    seconds: float | None
    seeds: int
    tuned: Tuned | None
    ensemble: Estimate | None = None


@dataclass(frozen=True)
class AttackRow:
    """What an attack achieves over the defenses whose model is sound before it comes.

    Attributes:
        rank: from 1; None if it was not run on every defense.
        lift: mean over those defenses, then over seeds.
        undefended: its cell against the undefended server.
        best_defense, worst_defense: against which it achieves least and most (in-sample).
        successes: number of those defenses against which it succeeds.
        defenses: number of those defenses.
        diverged: number of its runs that did.
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
    diverged: int
    missing: int


@dataclass(frozen=True)
class Section:
    """The leaderboard of one setting.

    Attributes:
        unattacked: label of the attack ``none``; None if nothing was run without an attack.
        undefended: label of the defense ``mean``; None if nothing was run without a defense.
        reference: main accuracy, unattacked and undefended.
        partitions: how many partitions of the data its runs were made on.
        attacks, defenses: all labels, the do-nothing ones first.
        cells: the full matrix, by defense and attack; a cell that was never run has no runs.
        untargeted: cells of attacks that want a worse model and no backdoor, by defense; they
            stand in none of the rows and judge nothing.
        ensemble: the ensemble of attacks that was run, by name; None where none was run whole.
        environment: ``engine``, ``device``, ``precision`` → the values met.
        notes: what a reader must know, from the records and from this section.
    """

    setting: Setting
    unattacked: str | None
    undefended: str | None
    reference: Estimate | None
    seeds: list[int]
    partitions: int
    attacks: list[str]
    defenses: list[str]
    defense_rows: list[DefenseRow]
    attack_rows: list[AttackRow]
    cells: list[Matchup]
    untargeted: list[Matchup]
    ensemble: str | None
    environment: dict[str, list[str]]
    notes: list[str]

    def cell(self, attack: str, defense: str) -> Matchup:
        """One entry of the matrix."""
        return next(c for c in self.cells if (c.attack, c.defense) == (attack, defense))

    def of(self, row: AttackRow | DefenseRow) -> list[Matchup]:
        """The cells of a row of a table."""
        if isinstance(row, AttackRow):
            return [c for c in self.cells if c.attack == row.attack]
        return [c for c in self.cells if c.defense == row.defense]

    @property
    def is_backdoored(self) -> bool:
        """Whether it is about backdoors, or nothing but untargeted attacks were run."""
        return not self.untargeted or any(attack != self.unattacked for attack in self.attacks)

    def position(self, attack: str) -> int:
        """Of an attack in figures and legends: from 1; 0 is the unattacked run's."""
        return self.attacks.index(attack) + (self.unattacked is None)

    @property
    def floor(self) -> float | None:
        """Where the mean loss of main accuracy is what the gate allows."""
        return None if self.reference is None else self.reference.mean - GATE

    @property
    def tuned(self) -> list[tuple[str, Tuned]]:
        """The defenses that an attacker was tuned against, and how."""
        return [(row.defense, row.tuned) for row in self.defense_rows if row.tuned]


@dataclass(frozen=True)
class Leaderboard:
    """One section for each setting."""

    name: str
    sections: list[Section]
