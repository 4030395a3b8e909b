"""What a study of defenses found, as ``tuning.json``, ``tuning.md`` and, of a front, a picture."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.results.gates import GATE
from benchmark.results.statistics import estimate, mean
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, front, undominated
from benchmark.tuning.reports.drawing import PARETO, save_front
from benchmark.tuning.reports.report import UNTRIED, AttackReport, percent
from benchmark.utils.files import atomic_file


@dataclass(frozen=True)
class DefenseReport(AttackReport):
    """A result of a study of defenses; the candidates of a Pareto study are points of its front."""

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

    def write(self, folder: Path) -> list[Path]:
        """Write the files; their paths."""
        paths = super().write(folder)
        if self.is_pareto:
            with atomic_file(folder / PARETO) as path:
                save_front(self.tried, self.front, self.reevaluation, path)
            paths.append(folder / PARETO)
        return paths

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

    def markdown(self) -> str:
        """For people."""
        parts = [
            f"# Tuned defense: {self.study}",
            self._budget(),
            self.verdict(),
            "\n".join(self._rows()),
            "The worst case over the attacks, in-sample backdoor accuracy and beside it held-out, "
            "over the last fifth of the rounds, in %, mean and 95 % interval over seeds; main "
            "accuracy lost is that of the undefended, unattacked model less the lowest of all "
            "attacks and none. The found value is the best of many and only says where to look; "
            "which attack is the worst case is decided anew on the fresh seeds.",
        ]
        if self.is_pareto:
            parts.insert(3, f"![Pareto front]({PARETO})")
        return "\n\n".join([*parts, *self._how()])

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
            f"{percent(estimate(winner.backdoor))} % through in the worst case "
            f"(`{shlex.join(winner.against)}`)"
        )
        if gain is None or again.strongest_fixed is None:
            return f"{result}; no defense as its yaml has it keeps {within}."
        best = shlex.join(again.strongest_fixed.overrides)
        return f"{result}, {percent(gain, sign=True)} points beside the best fixed one (`{best}`)."

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

    def _rows(self) -> list[str]:
        again = self.reevaluation
        heads = [
            "defense",
            "found (optimistic)",
            "re-evaluated",
            "held-out",
            "worst case",
            "main accuracy lost",
            "undominated" if self.is_pareto else "feasible",
        ]
        kept = self.candidates_undominated()

        values = {trial.number: trial.outcome.values for trial in self.tried}

        def found(r: Reevaluated) -> str:
            if r.found is None:
                return "-"
            main = (
                f", main {100 * values[r.trial][1]:.1f}"
                if self.is_pareto and r.trial is not None
                else ""
            )
            return f"{100 * r.found:.1f}{main}"

        def row(r: Reevaluated) -> str:
            origin = "fixed" if r.trial is None else f"trial {r.trial}"
            mark = "**" if r is again.winner else ""
            good = r in kept if self.is_pareto else r.feasible
            cells = [
                f"{mark}{origin}{mark}: `{shlex.join(r.overrides)}`",
                found(r),
                percent(estimate(r.backdoor)),
                percent(estimate(r.held_out)),
                f"`{shlex.join(r.against)}`",
                percent(estimate(r.cost), sign=True),
                "" if self.is_pareto and r.trial is None else "yes" if good else "no",
            ]
            return f"| {' | '.join(cells)} |"

        rows = map(row, [*again.candidates, *again.fixed])
        return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows]

    def _how(self) -> list[str]:
        if self.command is None:
            return [""]
        return [f"Run the tuned defense under its worst case:\n\n```sh\n{self.command}\n```\n"]
