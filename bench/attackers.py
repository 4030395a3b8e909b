"""What a compromised client's round costs, in honest client trainings, by its attack's defaults.

    python -m bench.attackers

One compromised client of 30, all of the paper's shape; CPU seconds of its lanes and of all that the
attack does besides, over those of an honest client's lane in the same round.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from bench.measure import Spread, facts, say
from bench.report import Result, Table, Value, arguments
from bench.workload import paper_shaped
from benchmark.attacks.base import Attack
from benchmark.config.compose import compose, read_yaml
from benchmark.config.instantiate import located
from benchmark.engine.base import Trained
from benchmark.engine.plan import Plan
from benchmark.federation.contract import DivergedError, task_needed
from benchmark.federation.rounds import Federation
from benchmark.run.assembly import build
from benchmark.run.trainer import fit

ATTACKS = (
    *("data_poisoning", "boosted", "norm_bounded", "model_replacement", "layer_substitution"),
    *("three_dfed", "f3ba", "adaptive_blend", "chameleon", "alie_backdoor"),
    *("alternating_minimization", "iba", "a3fl"),
)
FURTHER = {"f3ba": "learned_patch"}
"""Attacks that do more with a task that they do not need."""

K = 30
HONEST, OWN = "honest", "own"


class Clocks(pl.Callback):
    """CPU seconds of all threads, in each round: of honest lanes together, and of the attacker.

    The attacker's are its lanes, what it prepares and what it crafts.
    """

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put clocks around what there is to do."""
        assert isinstance(module, Federation)
        engine, adversary = module.engine, module.adversary
        train, prepare, craft = engine.train, adversary.prepare, adversary.craft

        def clocked(name: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
            start = time.process_time()
            result = work(*given, **named)
            self.spent[name][-1] += time.process_time() - start
            return result

        def parted(theta: Tensor, plan: Plan) -> Trained:
            if len(plan.lanes) < K:  # of the attack, which is clocked as a whole
                return train(theta, plan)
            # The compromised client has the cohort's last place, and behind it are its other lanes.
            lanes = {HONEST: plan.lanes[: K - 1], OWN: plan.lanes[K - 1 :]}
            found = [clocked(x, train, theta, Plan(plan.round, lanes[x])) for x in lanes]
            updates, losses = (
                torch.cat([getattr(part, name) for part in found]) for name in ("updates", "losses")
            )
            return Trained(updates, losses)

        engine.train = parted  # type: ignore[method-assign]
        adversary.prepare = lambda *given: clocked(OWN, prepare, *given)  # type: ignore
        adversary.craft = lambda *given, **named: clocked(OWN, craft, *given, **named)  # type: ignore

    def on_train_batch_start(self, *given: Any) -> None:
        """A round."""
        for name in (HONEST, OWN):
            self.spent[name].append(0.0)


def measured(attack: str, model: str, rounds: int, images: int) -> dict[str, list[float]]:
    """CPU seconds of each round but the first: of one honest client, and of the compromised one."""
    task = task_needed(class_of(attack)) or FURTHER.get(attack, "pattern")
    chosen = [f"attack={attack}", f"task={task}", f"model={model}", "data=digits5k"]
    protocol = [f"federation.rounds={rounds + 2}", f"federation.clients_per_round={K}"]
    config = compose([*chosen, *protocol, "engine=cpu", "engine.workers=1", "tracking=none"])
    clocks, dataset = Clocks(), paper_shaped(K, images)
    with suppress(DivergedError):  # the round in which it did was trained as any other
        # Not to the end, after which all test images are read.
        fit(build(config, dataset), dataset, "cpu", [clocks], rounds=rounds + 1)
    return {
        HONEST: [seconds / (K - 1) for seconds in clocks.spent[HONEST][1:]],
        OWN: clocks.spent[OWN][1:],
    }


def class_of(attack: str) -> type[Attack]:
    """Its facts."""
    found: type[Attack] = located(read_yaml("attack", attack)["_target_"])
    return found


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    asked = arguments(__doc__).parse_args(given)
    about = facts("bench.attackers", sys.argv[1:] if given is None else given)
    data: dict[str, dict[str, dict[str, list[float]]]] = {}
    tables = []
    for model in ("small",) if asked.toy else ("small", "paper"):
        rows: list[list[Value]] = []
        data[model] = {}
        for attack in ATTACKS[:1] if asked.toy else ATTACKS:
            rounds = {"toy": 1, "small": 4, "paper": 1}["toy" if asked.toy else model]
            taken = data[model][attack] = measured(attack, model, rounds, 20 if asked.toy else 100)
            honest, own = (Spread.of(taken[name]).median for name in (HONEST, OWN))
            say(f"{model}, {attack}: {own / honest:.3g}")
            rows.append([attack, own, own / honest, K - 1 + own / honest, class_of(attack).cost])
        columns = ("attack", "its CPU s", "trainings", "the round's", "its card, in trainings")
        title = "toy" if asked.toy else f"one of {K} clients, model {model}, E = 5"
        tables.append(Table(title, columns, rows))
    notes = (
        "CPU seconds of all threads, medians of rounds without the first. D_mal has the images of "
        "five users, 4.5 times as many as a client.",
    )
    Result("attackers", about, data, tables, notes).publish(asked.out)
    return asked.out / "attackers.json"


if __name__ == "__main__":
    main()
