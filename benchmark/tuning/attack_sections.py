"""What a study of attacks found."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from benchmark.report.document import Block, Column, Mark, Paragraph, Table, Text
from benchmark.report.numbers import interval, number
from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import estimate
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation
from benchmark.tuning.sections import TuningReport, coded

UNTRIED = "No trial was finished, so nothing was searched and nothing is known."


@dataclass(frozen=True)
class AttackReport(TuningReport):
    """A result of a study of attacks.

    Attributes:
        tried: the finished trials.
        reevaluation: of the best.
    """

    heading: ClassVar = "Tuned attacker"
    run_it: ClassVar = "Run the tuned attack"
    group: ClassVar = "attack"
    tried: Sequence[FinishedTrial]
    reevaluation: Reevaluation

    @property
    def chosen(self) -> tuple[str, ...] | None:
        """The winner, and its worst case, on the first fresh seed."""
        winner, seed = self.reevaluation.winner, f"seed={self.reevaluation.seeds[0]}"
        return None if winner is None else (*winner.overrides, *winner.against, seed)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        again, gain = self.reevaluation, self.reevaluation.gain()
        return super().plain() | {
            "budget": self.budget(),
            "trials": [asdict(t) | {"feasible": t.feasible} for t in self.tried],
            "fresh_seeds": again.seeds,
            "fixed": [_plain(f) for f in again.fixed],
            "candidates": [_plain(c) for c in again.candidates],
            "strongest_fixed": again.strongest_fixed and _plain(again.strongest_fixed),
            "winner": again.winner and _plain(again.winner),
            "gain": gain and asdict(gain),
            "command": self.command,
        }

    def budget(self) -> dict[str, int]:
        """What the search took: trials, those of them that were pruned, federations, rounds."""
        rounds = self.description["configuration"]["federation"]["rounds"]
        return {
            "trials": len(self.tried),
            "pruned": sum(trial.pruned for trial in self.tried),
            "federations": sum(-(-trial.steps // rounds) for trial in self.tried),
            "rounds": sum(trial.steps for trial in self.tried),
        }

    def blocks(self) -> list[Block]:
        """Budget, verdict, the best and the fixed attacks, how they were measured."""
        again, told, spent = self.reevaluation, self.description, self.budget()
        feasible = sum(t.feasible for t in self.tried)
        budget = (
            f"{spent['trials']} trials ({told['sampler']}) of {len(told['seeds'])} federations "
            f"each against `{shlex.join(self.overrides)}`, on the validation half of the users: "
            f"{spent['pruned']} were pruned, so it took {spent['federations']} federations and "
            f"{spent['rounds']} rounds; "
            f"{feasible} kept main accuracy within {100 * TOLERANCE:g} points of no attack. The "
            f"best were run again on the test half with fresh seeds "
            f"({', '.join(map(str, again.seeds))}) beside the fixed attacks."
        )
        measure = (
            "In-sample backdoor accuracy, and beside it held-out, over the last fifth of the "
            "rounds, in %, mean and 95 % interval over seeds; the found value is the largest of "
            "many and only says where to look."
        )
        return [
            Paragraph(coded(budget)),
            Paragraph(coded(self.verdict())),
            self.table(),
            Paragraph(measure),
        ]

    def table(self) -> Table[Reevaluated]:
        """The best, and every choice as its yaml has it, on fresh seeds."""
        rows = [*self.reevaluation.candidates, *self.reevaluation.fixed]
        return Table(self.columns(), rows)

    def columns(self) -> list[Column[Reevaluated]]:
        """Of the table."""
        return [
            Column(self.group, self._setting, is_number=False),
            Column("found (optimistic)", self.found),
            Column("re-evaluated", lambda row: interval(estimate(row.backdoor))),
            Column("held-out", lambda row: interval(estimate(row.held_out))),
            Column("main accuracy lost", lambda row: interval(estimate(row.cost), signed=True)),
            Column("feasible", lambda row: row.verdict, is_number=False),
        ]

    def _setting(self, row: Reevaluated) -> Text:
        origin = "fixed" if row.trial is None else f"trial {row.trial}"
        where = Mark(origin) if row is self.reevaluation.winner else origin
        return where, ": ", Mark(shlex.join(row.overrides), "code")

    def found(self, row: Reevaluated) -> str:
        """What it reached on the tuning seeds."""
        return number(row.found)

    def verdict(self) -> str:
        """The result in a sentence or two."""
        again, gain = self.reevaluation, self.reevaluation.gain()
        if not self.tried:
            return UNTRIED
        if not again.candidates:
            return "No trial kept main accuracy: no attack was found that goes unnoticed."
        if again.winner is None:
            return (
                f"None of the best {len(again.candidates)} trials kept main accuracy on fresh "
                "seeds: no attack was found that goes unnoticed."
            )
        result = f"The tuned attack reaches {interval(estimate(again.winner.backdoor))} %"
        if gain is None:
            return f"{result}; no fixed attack keeps main accuracy, so there is no comparison."
        return f"{result}, {interval(gain, signed=True)} points beside the strongest fixed attack."


def _plain(row: Reevaluated) -> dict[str, Any]:
    summary = {
        "backdoor_accuracy": row.backdoor,
        "backdoor_held_out": row.held_out,
        "main_accuracy_lost": row.cost,
    }
    estimates = {f"{k}_estimate": asdict(e) for k, v in summary.items() if (e := estimate(v))}
    return asdict(row) | {"feasible": row.feasible} | estimates
