"""Optuna's tree-structured Parzen estimator beside random search, at the same budget.

    python -m bench.samplers

Each is given the same attacker studies against the same defenses, once for every seed of the
sampler, through the command line that users have. What counts is what the found attacks do on
fresh seeds and users, where both samplers' attacks meet the same federations; beside it stands
what they reached where they searched. The first ten trials of a Parzen study are drawn at random,
the same ones as those of random search with this seed.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.measure import facts, say
from bench.report import Result, Table, Value, arguments
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.utils.files import cache_folder

SAMPLERS = ("tpe", "random")
MEASURES = {"found": "where searched", "backdoor": "on fresh seeds"}
"""Of :class:`Found`, and what tables call them."""
# Bounds at which the strongest attacks cost too much main accuracy and the weakest do nothing:
# against tighter ones there is hardly anything to find.
DEFENSES = {
    "norm_clip, M = 3": ["defense=norm_clip", "defense.norm_bound=3.0"],
    "norm_reject, M = 2": ["defense=norm_reject", "defense.norm_bound=2.0"],
}
SETTING = ["data=digits5k", "task.num_tasks=10", "federation.rounds=30", "tracking=none"]
TOY = ["data=digits5k", "task.num_tasks=2", "federation.rounds=2", "federation.local_epochs=1"]
TOY += ["federation.clients_per_round=3", "tracking=none"]


@dataclass(frozen=True)
class Found:
    """What one study found.

    Attributes:
        defense, sampler, seed: which study; ``seed`` is the sampler's.
        found: in-sample backdoor accuracy of the best feasible trial on the tuning seeds and users:
            what a sampler maximizes; 0 without one.
        attack: overrides of the winner, the best of the three best trials that keeps main accuracy
            on fresh seeds; None where none does.
        backdoor: in-sample backdoor accuracy of it on fresh seeds, mean; 0 without a winner.
    """

    defense: str
    sampler: str
    seed: int
    found: float
    attack: str | None
    backdoor: float


@dataclass(frozen=True)
class Size:
    """The studies and the budget of each."""

    setting: list[str]
    defenses: list[str]
    trials: int
    fresh: int
    seeds: int


def study(size: Size, defense: str, sampler: str, seed: int, results: Path) -> Found:
    """Run one, or take it from ``results`` where it is done."""
    name = f"{defense.partition(',')[0]}-{sampler}-{seed}"
    command = [sys.executable, "-m", "benchmark", "tune", "attack"]
    command += [*size.setting, *DEFENSES[defense]]
    command += [f"--sampler={sampler}", f"--sampler-seed={seed}", f"--name={name}"]
    command += [f"--trials={size.trials}", f"--fresh={size.fresh}", "--best=3"]
    command += [f"--results={results}"]
    say(f"{defense}, {sampler}, sampler seed {seed}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    path = results / f"tuning-{name}" / "tuning.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    winner = result["winner"]
    values = [t["outcome"]["values"][0] for t in result["trials"] if t["feasible"]]
    return Found(
        *(defense, sampler, seed),
        found=max(values, default=0.0),
        attack=" ".join(winner["overrides"]) if winner else None,
        backdoor=winner["backdoor_accuracy_estimate"]["mean"] if winner else 0.0,
    )


def main(given: Sequence[str] | None = None) -> Path:
    """Search, print, store."""
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=30, help="of each study (30)")
    parser.add_argument("--seeds", type=int, default=3, help="of each sampler (3)")
    parser.add_argument(
        "--results", type=Path, default=cache_folder() / "samplers", help="where studies are kept"
    )
    asked = parser.parse_args(given)
    about = facts("bench.samplers", sys.argv[1:] if given is None else given)
    size = Size(SETTING, list(DEFENSES), asked.trials, 5, asked.seeds)
    if asked.toy:
        size = Size(TOY, list(DEFENSES)[:1], 3, 3, 1)
    found = [
        study(size, defense, sampler, seed, asked.results)
        for seed in range(size.seeds)
        for defense in size.defenses
        for sampler in SAMPLERS
    ]
    tables = [_table(found, defense) for defense in size.defenses]
    notes = (
        f"Studies of {size.trials} trials. In-sample backdoor accuracy of the best feasible trial "
        f"where it was searched, and of the attack that was found over {size.fresh} fresh seeds "
        "(the best found of the three best that keeps main accuracy there; 0 where none does). "
        f"Mean and 95 % interval over {size.seeds} seeds of the sampler. "
        f"Setting: `{' '.join(size.setting)}`.",
    )
    data = {"found": [asdict(f) for f in found]}
    Result("samplers", about, data, tables, notes).publish(asked.out)
    return asked.out / "samplers.json"


def _table(found: Sequence[Found], defense: str) -> Table:
    def values(sampler: str, what: str) -> dict[int, float]:
        own = [f for f in found if (f.defense, f.sampler) == (defense, sampler)]
        return {f.seed: getattr(f, what) for f in own}

    def row(name: str, measured: Sequence[dict[int, float]]) -> list[Value]:
        return [name, *(value for each in measured for value in _percent(estimate(each)))]

    own = {sampler: [values(sampler, what) for what in MEASURES] for sampler in SAMPLERS}
    rows = [row(sampler, own[sampler]) for sampler in SAMPLERS]
    apart = [difference(*pair) for pair in zip(*own.values(), strict=True)]
    rows.append(row(" less ".join(SAMPLERS), apart))
    columns = [column for words in MEASURES.values() for column in (f"{words} %", "±")]
    return Table(defense, ("sampler", *columns), rows)


def _percent(value: Estimate | None) -> list[Value]:
    if value is None:
        return [None, None]
    width = value.half_width
    return [100 * value.mean, None if width is None else 100 * width]


if __name__ == "__main__":
    main()
