"""What a suite of late attacks costs where its cells share the rounds before the attack.

    python -m bench.late

Ten attacks on five defenses, in the last quarter of the rounds, one cell after the other: once as a
suite runs them, once with nothing to share, as if each began at round 0.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measure import facts, say, seconds
from bench.report import Result, Table, arguments
from benchmark.run.cell import Cell
from benchmark.run.runner import run
from benchmark.run.suite import Suite
from benchmark.utils.machine import one_thread

ATTACKS = (
    *("none", "boosted", "norm_bounded", "data_poisoning", "model_replacement"),
    *("train_and_scale", "constrain_and_scale", "pgd", "neurotoxin", "adaptive_blend"),
)
DEFENSES = ("mean", "norm_clip", "median", "multi_krum", "foolsgold")
LIMIT = 2.0


def cells(rounds: int, attacks: Sequence[str], defenses: Sequence[str]) -> list[Cell]:
    """Attacked in the last quarter."""
    setting = ["setting=digits5k", "task.num_tasks=10", "tracking=none", "engine=cpu"]
    late = [f"federation.rounds={rounds}", f"participation.window=[{rounds * 3 // 4},{rounds}]"]
    axes = {"attack": list(attacks), "defense": list(defenses)}
    return Suite("late", "late attacks", [*setting, *late], axes, [0]).cells()


def together(wanted: Sequence[Cell], folder: Path) -> None:
    """As a suite runs them."""
    for cell in wanted:
        run(cell, folder / "suite")


def apart(wanted: Sequence[Cell], folder: Path) -> None:
    """Each in a folder of its own, with nothing beside it."""
    for i, cell in enumerate(wanted):
        run(cell, folder / str(i) / "suite")
        say(f"  {i + 1} of {len(wanted)}")


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.late", sys.argv[1:] if given is None else given)
    chosen = (ATTACKS[:2], DEFENSES[:1]) if asked.toy else (ATTACKS, DEFENSES)
    wanted = cells(4 if asked.toy else 40, *chosen)
    taken = {}
    for name, way in (("shared", together), ("from round 0", apart)):
        with tempfile.TemporaryDirectory() as folder, one_thread():
            taken[name] = seconds(lambda way=way, folder=folder: way(wanted, Path(folder)))
        say(f"{name}: {taken[name]:.1f} s")
    rows = [[name, s, taken["from round 0"] / s] for name, s in taken.items()]
    title = "toy" if asked.toy else f"{len(wanted)} cells of 40 rounds, attacked in the last ten"
    table = Table(title, ("the clean rounds are", "seconds", "times faster"), rows)
    Result("late", about, taken, [table]).publish(asked.out)
    return asked.out / "late.json"


if __name__ == "__main__":
    main()
