"""What a study found, as ``tuning.json`` and ``tuning.md``."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.results.gates import TOLERANCE
from benchmark.results.searches import SCHEMA_VERSION
from benchmark.results.statistics import Estimate, estimate
from benchmark.tuning.federations import MEASURED_ON
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation
from benchmark.utils.files import atomic_file, write_json

JSON, MARKDOWN = "tuning.json", "tuning.md"
UNTRIED = "No trial was finished, so nothing was searched and nothing is known."


@dataclass(frozen=True)
class AttackReport:
    """A study's result.

    Attributes:
        study: its name.
        storage: its URL, without a password.
        overrides: what the study was given: the defense, the protocol.
        description: all that makes the study this one.
        tried: the finished trials.
        reevaluation: of the best.
    """

    study: str
    storage: str
    overrides: tuple[str, ...]
    description: dict[str, Any]
    tried: Sequence[FinishedTrial]
    reevaluation: Reevaluation

    @property
    def command(self) -> str | None:
        """One federation with the winner, and against its worst case, on the first fresh seed."""
        winner = self.reevaluation.winner
        if winner is None:
            return None
        seed = f"seed={self.reevaluation.seeds[0]}"
        chosen = [*winner.overrides, *winner.against]
        words = [*self.overrides, f"{MEASURED_ON}=test", *chosen, seed]
        return "python -m benchmark run " + shlex.join(words)

    def write(self, folder: Path) -> list[Path]:
        """Write both files; their paths."""
        write_json(folder / JSON, self.plain())
        with atomic_file(folder / MARKDOWN) as path:
            path.write_text(self.markdown(), encoding="utf-8")
        return [folder / JSON, folder / MARKDOWN]

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        again, gain = self.reevaluation, self.reevaluation.gain()
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "storage": self.storage,
            "overrides": list(self.overrides),
            "description": self.description,
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

    def markdown(self) -> str:
        """For people."""
        again, told = self.reevaluation, self.description
        feasible, spent = sum(t.feasible for t in self.tried), self.budget()
        title = f"# Tuned attacker: {self.study}"
        budget = (
            f"{spent['trials']} trials ({told['sampler']}) of {len(told['seeds'])} federations "
            f"each against `{shlex.join(self.overrides)}`, on the validation half of the users: "
            f"{spent['pruned']} were pruned, so it took {spent['federations']} federations and "
            f"{spent['rounds']} rounds; "
            f"{feasible} kept main accuracy within {100 * TOLERANCE:g} points of no attack. The "
            f"best were run again on the test half with fresh seeds "
            f"({', '.join(map(str, again.seeds))}) beside the fixed attacks."
        )
        rows = [
            "| attack | found (optimistic) | re-evaluated | held-out | main accuracy lost "
            "| feasible |",
            "|---|---|---|---|---|---|",
            *(_row(r, again) for r in [*again.candidates, *again.fixed]),
        ]
        measure = (
            "In-sample backdoor accuracy, and beside it held-out, over the last fifth of the "
            "rounds, in %, mean and 95 % interval over seeds; the found value is the largest of "
            "many and only says where to look."
        )
        return "\n\n".join([title, budget, self.verdict(), "\n".join(rows), measure, *self._how()])

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
        result = f"The tuned attack reaches {percent(estimate(again.winner.backdoor))} %"
        if gain is None:
            return f"{result}; no fixed attack keeps main accuracy, so there is no comparison."
        return f"{result}, {percent(gain, sign=True)} points beside the strongest fixed attack."

    def _how(self) -> list[str]:
        if self.command is None:
            return [""]
        return [f"Run the tuned attack:\n\n```sh\n{self.command}\n```\n"]


def _plain(attack: Reevaluated) -> dict[str, Any]:
    summary = {
        "backdoor_accuracy": attack.backdoor,
        "backdoor_held_out": attack.held_out,
        "main_accuracy_lost": attack.cost,
    }
    estimates = {f"{k}_estimate": asdict(e) for k, v in summary.items() if (e := estimate(v))}
    return asdict(attack) | {"feasible": attack.feasible} | estimates


def _row(attack: Reevaluated, again: Reevaluation) -> str:
    origin = "fixed" if attack.trial is None else f"trial {attack.trial}"
    mark = "**" if attack is again.winner else ""
    found = "-" if attack.found is None else f"{100 * attack.found:.1f}"
    cells = [
        f"{mark}{origin}{mark}: `{shlex.join(attack.overrides)}`",
        found,
        percent(estimate(attack.backdoor)),
        percent(estimate(attack.held_out)),
        percent(estimate(attack.cost), sign=True),
        "yes" if attack.feasible else "no",
    ]
    return f"| {' | '.join(cells)} |"


def percent(value: Estimate | None, sign: bool = False) -> str:
    """An estimate of a share in [0, 1], with its interval."""
    if value is None:
        return "-"
    spread = "" if value.half_width is None else f" ± {100 * value.half_width:.1f}"
    return f"{100 * value.mean:{'+' if sign else ''}.1f}{spread}"
