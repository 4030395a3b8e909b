"""Every way to train a cohort that is timed; a new engine is one more line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.measure import Variant, say
from bench.workload import Workload, naive, trainer_each
from benchmark.config.compose import compose
from benchmark.config.plugins import available
from benchmark.engine.base import Engine
from benchmark.engine.plan import Plan
from benchmark.run.assembly import make
from benchmark.utils.machine import one_thread

NAIVE = "naive loop"
NAIVE_ONE = "naive loop, one thread"
TRAINER = "Trainer.fit for each client"

ENGINES: dict[str, Sequence[str]] = {
    "engine reference": ["engine=reference"],
    "engine cpu, autograd": ["engine=cpu", "engine.compiled=false"],
    "engine cpu": ["engine=cpu"],
    "engine cuda": ["engine=cuda"],
    "engine auto": ["engine=auto"],
}
"""Row of the table → how a user chooses it."""


@dataclass(frozen=True)
class Ready:
    """An engine that is set up for a workload.

    Attributes:
        engine: the engine.
        work: what it trains.
    """

    engine: Engine
    work: Workload

    def __call__(self, plan: Plan | None = None) -> None:
        """Train the cohort as a run of the benchmark does: one thread outside the engine."""
        with one_thread():
            self.engine.train(self.work.theta, plan or self.work.plan)


def engine(overrides: Sequence[str]) -> Engine:
    """The engine of a configuration."""
    return make("engine", compose([*overrides, "tracking=none"])["engine"])


def ready(overrides: Sequence[str], work: Workload) -> Ready | None:
    """An engine set up for a workload; None where it is not there, or cannot do the work."""
    if overrides[0].removeprefix("engine=") not in available("engine"):
        return None
    made = engine(overrides)
    if work.device not in made.device_types:
        return None
    try:
        with one_thread():
            made.setup(work.client, work.resident)
    except ValueError as refusal:
        say(f"{' '.join(overrides)}: left out: {refusal}")
        return None
    return Ready(made, work)


def variants(work: Workload, repeats: Callable[[str], int]) -> list[Variant]:
    """All of them for a workload.

    Args:
        work: what is to be done.
        repeats: how often a variant of this name is timed; 0 leaves it out.
    """
    users = range(work.clients)

    def naive_one(users: Sequence[int]) -> None:
        with one_thread():
            naive(work, users)

    found = []
    for name, loop in (
        (NAIVE, partial(naive, work)),
        (NAIVE_ONE, naive_one),
        (TRAINER, partial(trainer_each, work)),
    ):
        warm = partial(loop, users[:1])
        found.append(Variant(name, partial(loop, users), repeats(name), warm))
    for name, overrides in ENGINES.items():
        if repeats(name) and (made := ready(overrides, work)):
            found.append(Variant(name, made, repeats(name), partial(made, work.brief)))
    return [variant for variant in found if variant.repeats]
