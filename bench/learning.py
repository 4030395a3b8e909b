"""How a setting learns, is backdoored, and what training its network on all images at once gives.

    python -m bench.learning setting=cifar10_small data.path=FOLDER

Three runs of the same configuration: without an attack, attacked, and with one user who owns all
images, which is centralized training. Accuracies stand beside each other by how often an image was
looked at. What stands behind are overrides, as of ``python -m benchmark run``.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.measure import facts, say
from bench.report import Result, Table, Value, arguments
from benchmark.data.dataset import FederatedDataset
from benchmark.data.store import load
from benchmark.run.assembly import build, choose_device
from benchmark.run.cell import Cell
from benchmark.run.recorder import OnRound, Recorder
from benchmark.run.trainer import fit

Curves = dict[str, dict[int, float]]

ATTACK = "attack=boosted"
TOY = ["setting=digits5k", "federation.rounds=4", "federation.evaluate_every=2"]
NOTES = (
    "Passes: over all training images; of a federation, on average. All runs have the same "
    "learning rate, batches, augmentation and normalization, and seed 0. Attacked: boosting, where "
    "and when the setting has it, without a defense. Held-out: test images with the trigger that "
    "are read as the target.",
)


def curves(overrides: Sequence[str], say_round: OnRound, central: bool = False) -> Curves:
    """Metric → round → value."""
    cell = Cell.of([*overrides, "defense=mean", "tracking=none"])
    dataset = load(cell.data)
    if central:
        dataset = of_one_user(dataset)
    federation, recorder = build(cell.config, dataset), Recorder(say_round)
    fit(federation, dataset, choose_device(cell.config["device"], federation.engine), [recorder])
    return {name: curve.points() for name, curve in recorder.curves.items()}


def of_one_user(dataset: FederatedDataset) -> FederatedDataset:
    """All images are one user's."""
    train, test = (
        replace(split, offsets=torch.tensor([0, len(split)]))
        for split in (dataset.train, dataset.test)
    )
    return replace(dataset, train=train, test=test)


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", help="setting=NAME data.path=FOLDER ...")
    asked = parser.parse_args(given)
    about = facts("bench.learning", sys.argv[1:] if given is None else given)
    overrides = [*asked.overrides, *(TOY if asked.toy else [])]
    cell = Cell.of([*overrides, "attack=none"])
    protocol, users = cell.config["federation"], load(cell.data).num_users
    passes = protocol["clients_per_round"] * protocol["local_epochs"] / users
    rounds = math.ceil(protocol["rounds"] * passes)
    alone = ["federation.clients_per_round=1", "federation.local_epochs=1", "attack=none"]
    alone += [f"federation.rounds={rounds}", "federation.evaluate_every=1"]
    alone += ["task=pattern", "task.num_tasks=1"]  # there is but one user whose images to take
    found = {}
    for name, own in {"clean": ["attack=none"], "attacked": [ATTACK], "central": alone}.items():

        def told(round: int, metrics: dict[str, float], name: str = name) -> None:
            if "main_accuracy" in metrics:
                say(f"{name}, round {round}: main {metrics['main_accuracy']:.3f}")

        found[name] = curves([*overrides, *own], told, name == "central")
    clean, attacked, central = (found[n]["main_accuracy"] for n in ("clean", "attacked", "central"))
    rows: list[list[Value]] = []
    for round, accuracy in clean.items():
        looked = (round + 1) * passes
        backdoor = found["attacked"]["backdoor_held_out"].get(round)
        beside = central.get(round_of(looked))
        numbers = (accuracy, attacked.get(round), backdoor, beside)
        rows.append([round + 1, looked, *(None if x is None else 100 * x for x in numbers)])
    name = next((o.removeprefix("setting=") for o in overrides if "setting=" in o), "as overridden")
    columns = (
        "rounds",
        "passes",
        "main %",
        "attacked: main %",
        "held-out %",
        "centralized: main %",
    )
    Result("learning", about, found, [Table(name, columns, rows)], NOTES).publish(asked.out)
    return asked.out / "learning.json"


def round_of(passes: float) -> int:
    """The last of a centralized run's rounds, of one pass each, that was over by then."""
    return int(passes + 1e-9) - 1


if __name__ == "__main__":
    main()
