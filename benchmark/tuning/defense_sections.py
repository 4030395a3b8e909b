"""What a study of defenses found, and of a front, a picture."""

import shlex
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from matplotlib.figure import Figure

from benchmark.report.document import Block, Column, Mark, Paragraph, Picture
from benchmark.report.numbers import interval, number
from benchmark.results.gates import GATE
from benchmark.results.statistics import estimate, mean
from benchmark.tuning.attack_sections import UNTRIED, AttackReport
from benchmark.tuning.figures import front_figure
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, front, undominated
from benchmark.tuning.sections import coded


@dataclass(frozen=True)
class DefenseReport(AttackReport):
    """A result of a study of defenses; the candidates of a Pareto study are points of its front."""

    heading: ClassVar = "Tuned defense"
    run_it: ClassVar = "Run the tuned defense under its worst case"
    group: ClassVar = "defense"

    @property
    def is_pareto(self) -> bool:
        """Whether main accuracy was searched too, not bounded."""
        return len(self.description["directions"]) > 1

    @property
    def front(self) -> list[FinishedTrial]:
        """The undominated trials."""
        return front(self.tried, self.description["directions"])

    def budget(self) -> dict[str, int]:
        """What the search took: all trials whole, none of them is pruned."""
        told = self.description
        federations = len(self.tried) * len(told["seeds"]) * (1 + len(told["attacks"]))
        rounds = federations * told["configuration"]["federation"]["rounds"]
        return {
            "trials": len(self.tried),
            "pruned": 0,
            "federations": federations,
            "rounds": rounds,
        }

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        plain = super().plain()
        if self.is_pareto:
            plain["front"] = [trial.number for trial in self.front]
            plain["front_on_fresh_seeds"] = [r.trial for r in self.candidates_undominated()]
        return plain

    def candidates_undominated(self) -> list[Reevaluated]:
        """The points of the front that no other point of it, and no fixed defense, dominates."""
        again = self.reevaluation
        rows = [*again.candidates, *again.fixed]
        flags = undominated([(mean(r.backdoor), mean(r.cost)) for r in rows], ("minimize",) * 2)
        return [c for c, flag in zip(again.candidates, flags, strict=False) if flag]

    def blocks(self) -> list[Block]:
        """Budget, verdict, the best and the fixed defenses, how they were measured."""
        measure = (
            "The worst case over the attacks, in-sample backdoor accuracy and beside it held-out, "
            "over the last fifth of the rounds, in %, mean and 95 % interval over seeds; main "
            "accuracy lost is that of the undefended, unattacked model less the lowest of all "
            "attacks and none. The found value is the best of many and only says where to look; "
            "which attack is the worst case is decided anew on the fresh seeds."
        )
        shown = "Finished trials by both values; the front is what nothing beats in both."
        return [
            Paragraph(coded(self._budget())),
            Paragraph(coded(self.verdict())),
            *([Picture("pareto", "Pareto front", shown)] if self.is_pareto else []),
            self.table(),
            Paragraph(measure),
        ]

    def draw(self) -> Figure:
        """The front."""
        return front_figure(self.tried, self.front, self.reevaluation)

    def verdict(self) -> str:
        """The result in a sentence or two."""
        again, gain = self.reevaluation, self.reevaluation.gain()
        if not self.tried:
            return UNTRIED
        told = self._front_verdict() if self.is_pareto else ""
        within = f"main accuracy within {100 * GATE:g} points under every attack"
        if again.winner is None:
            where = "on fresh seeds" if again.candidates else "in any trial"
            return f"{told}No defense was found that kept {within} {where}."
        winner = again.winner
        result = (
            f"{told}The tuned defense `{shlex.join(winner.overrides)}` lets "
            f"{interval(estimate(winner.backdoor))} % through in the worst case "
            f"(`{shlex.join(winner.against)}`)"
        )
        if gain is None or again.strongest_fixed is None:
            return f"{result}; no defense as its yaml has it keeps {within}."
        best = shlex.join(again.strongest_fixed.overrides)
        return (
            f"{result}, {interval(gain, signed=True)} points beside the best fixed one (`{best}`)."
        )

    def _front_verdict(self) -> str:
        candidates = self.reevaluation.candidates
        return (
            f"The front has {len(self.front)} points; of the {len(candidates)} that were run again "
            f"{len(self.candidates_undominated())} stay undominated on fresh seeds. "
        )

    def _budget(self) -> str:
        told, again = self.description, self.reevaluation
        attacks = ", ".join(f"`{attack}`" for attack in told["attacks"])
        federations = len(told["seeds"]) * (1 + len(told["attacks"]))
        kept = (
            "Both were searched, least backdoor and most main accuracy"
            if self.is_pareto
            else f"{sum(t.feasible for t in self.tried)} kept main accuracy within "
            f"{100 * GATE:g} points of the undefended, unattacked model"
        )
        return (
            f"{len(self.tried)} trials ({told['sampler']}) of {federations} federations each over "
            f"{', '.join(told['space'])}: without attack and under {attacks}. {kept}. Tuned "
            "on the validation half of the users; the best were run again on the test half with "
            f"fresh seeds ({', '.join(map(str, again.seeds))}) beside the "
            "defenses as their yamls have them."
        )

    def columns(self) -> list[Column[Reevaluated]]:
        """Of the table."""
        kept = self.candidates_undominated()

        def good(row: Reevaluated) -> str:
            if self.is_pareto and row.trial is None:
                return ""
            return "yes" if (row in kept if self.is_pareto else row.feasible) else "no"

        def worst(row: Reevaluated) -> tuple[Mark]:
            return (Mark(shlex.join(row.against), "code"),)

        *columns, cost, last = super().columns()
        last = replace(last, head="undominated" if self.is_pareto else last.head, content=good)
        return [*columns, Column("worst case", worst, is_number=False), cost, last]

    def found(self, row: Reevaluated) -> str:
        """What it reached on the tuning seeds, and of a front its main accuracy."""
        values = {trial.number: trial.outcome.values for trial in self.tried}
        if row.found is None or row.trial is None or not self.is_pareto:
            return number(row.found)
        return f"{number(row.found)}, main {number(values[row.trial][1])}"
