"""Searches for attackers that nobody made: ``tuning.json`` as the program writes it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.run.record import Record
from benchmark.tuning.attack_sections import AttackReport
from benchmark.tuning.problem import Evaluation, FinishedTrial
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation
from benchmark.tuning.sections import TuningReport

FRESH = (1000, 1001, 1002)
ATTACKS = ("none", "boosted", "norm_bounded")


def search(
    results: Path,
    record: Record,
    found: Sequence[float] | None = (0.5, 0.7, 0.6),
    fixed: Sequence[float] | None = (0.2, 0.5, 0.2),
    name: str = "attack-on-it",
    trials: int = 30,
    pruned: int = 0,
    **description: Any,
) -> Path:
    """A study of the defense of a record, in its setting.

    Args:
        results: the folder of all results.
        record: of a suite.
        found: the winner's in-sample backdoor accuracy by fresh seed; None: it costs too much.
        fixed: the same of the fixed attack.
        name: of the study.
        trials: how many there were.
        pruned: how many of them were pruned.
        description: what it says otherwise.

    Returns:
        The file that was written.
    """
    federation = {**record.config["federation"], "measured_on": "validation"}
    configuration = {**record.config, "federation": federation}
    for key in ("attack", "seed"):
        del configuration[key]
    told = {
        "problem": "attacker",
        "configuration": configuration,
        "data": record.data["hash"],
        "seeds": [0, 1],
        "sampler": "tpe",
        "code": {f"attack={name}": record.code["fingerprint"] for name in ATTACKS},
        **description,
    }
    overrides = ("attack=norm_bounded", "attack.rounds=9", "attack.norm_bound=1.5")
    outcome = Evaluation((0.9,), {}, {})
    tried = [FinishedTrial(n, overrides, outcome, None, pruned=n < pruned) for n in range(trials)]
    again = Reevaluation(
        list(FRESH),
        [_judged(("attack=boosted",), None, fixed)],
        [_judged(overrides, 7, found)],
    )
    defense = record.config["defense"]["name"]
    report = AttackReport(name, "sqlite:///t.db", (f"defense={defense}",), told, tried, again)
    return report.write(results / f"tuning-{name}")[0]


def _judged(
    overrides: tuple[str, ...], trial: int | None, backdoor: Sequence[float] | None
) -> Reevaluated:
    values = (0.9, 0.9, 0.9) if backdoor is None else backdoor
    cost = dict.fromkeys(FRESH, 0.01 if backdoor is not None else 0.2)
    return Reevaluated(
        backdoor=dict(zip(FRESH, values, strict=True)),
        cost=cost,
        overrides=overrides,
        trial=trial,
        found=0.9,
    )


def markdown(report: TuningReport) -> str:
    """What a report says to people."""
    with tempfile.TemporaryDirectory() as folder:
        report.write(Path(folder))
        return (Path(folder) / "tuning.md").read_text()
