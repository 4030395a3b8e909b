"""What a compromised client's lane costs beside an honest one, by the rule that it trains by.

    python -m bench.rules

One lane on one core, in compiled code; the same steps on the same images, so that the ratio is the
rule's cost. A loss of its own is autograd's, which compiled code cannot serve.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.measure import Spread, Variant, facts, interleave
from bench.report import Result, Table, Value, arguments
from bench.workload import LR, Workload
from benchmark.attacks.penalties import Anchored
from benchmark.attacks.rules import Ball, InTurn, Momentum, Unfrozen
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.rules import LocalLoss, LocalRule

HONEST = "honest"
LIMIT = 1.5


@dataclass(frozen=True)
class Plain(LocalLoss):
    """Cross-entropy, as a loss of an attack's own."""

    def __call__(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """The same number by another way."""
        return cross_entropy(logits, labels)


def lanes(work: Workload) -> dict[str, Lane]:
    """The first user's, by every rule."""
    plain = work.plan.lanes[0].ending_epoch()
    P, S = work.client.num_parameters, plain.num_steps
    rates = (LR,) * S
    mask = torch.rand(P, generator=torch.Generator().manual_seed(0)) < 0.95
    own = Momentum(rates, 0.9, 5e-4)
    rules: dict[str, LocalRule] = {
        "a mask after every step (Neurotoxin)": Unfrozen(lambda: mask),
        "a ball after every step (PGD, l2)": Ball(1.0),
        "a box after every step (PGD, linf)": Ball(0.01, "linf"),
        "a ball after every tenth": Ball(1.0, every=10),
        "its own SGD with momentum and decay": own,
        "a penalty on the distance (constrain-and-scale)": Anchored(rates, 0.5),
        "momentum, then a mask": InTurn([own, Unfrozen(lambda: mask)]),
    }
    found = {name: replace(plain, rule=rule) for name, rule in rules.items()}
    slower = tuple(LR / 2 if step % 2 else LR for step in range(S))
    return {
        HONEST: plain,
        "a learning rate of each step": replace(plain, rates=slower),
        **found,
        "a loss of its own (Chameleon), autograd": replace(plain, loss=Plain()),
    }


def main(given: Sequence[str] | None = None) -> Path:
    """Measure, print, store."""
    parser = arguments(__doc__)
    asked = parser.parse_args(given)
    about = facts("bench.rules", sys.argv[1:] if given is None else given)
    data: dict[str, dict[str, list[float]]] = {}
    tables = []
    for model in ("small",) if asked.toy else ("small", "paper"):
        work = Workload.of(model, 1, images=20 if asked.toy else 100)
        engine = CpuEngine(workers=1)
        engine.setup(work.client, work.resident)
        variants = [
            Variant(
                name,
                partial(engine.train, work.theta, Plan(0, [lane])),
                1 if asked.toy else 15,
                partial(engine.train, work.theta, Plan(0, [lane])),
            )
            for name, lane in lanes(work).items()
        ]
        taken = data[model] = interleave(variants)
        honest = Spread.of(taken[HONEST]).median
        rows: list[list[Value]] = [
            [name, 1e3 * Spread.of(times).median, Spread.of(times).median / honest]
            for name, times in taken.items()
        ]
        title = "toy" if asked.toy else f"a lane of {model}, 25 steps of 20 images"
        tables.append(Table(title, ("the lane has", "median ms", "times honest"), rows))
    Result("rules", about, data, tables).publish(asked.out)
    return asked.out / "rules.json"


if __name__ == "__main__":
    main()
