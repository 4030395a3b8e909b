"""The fastest engine for this model, cohort and machine, found by trying."""

import logging
from dataclasses import replace
from functools import partial
from statistics import median_low
from typing import Any

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Predict, Trained
from benchmark.engine.choices import Candidate, described, fastest, remembered
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import LocalRule, Plan
from benchmark.utils.checks import worker_count
from benchmark.utils.errors import UserError

log = logging.getLogger("benchmark")

_LANES, _STEPS = 2, 4
"""Of the first round's plan tell engines apart in less than two seconds; a single step would not,
since what a lane costs at its start and end weighs little in a real one."""


class AutoEngine(Engine):
    """Measures the engines at the first round and trains with the fastest.

    The choice is kept for the model, the shape of the cohort and the machine, so that all cells
    of a suite and a repeated run get the same one; it stands in the log and in the record. A
    resumed run goes on with the engine that it began with.

    Args:
        workers: of the ``cpu`` engine.

    Raises:
        ValueError: ``workers`` is below 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        # Now: while a federation runs, torch's own operators are kept to one thread.
        default = torch.get_num_threads()
        self.asked = default if workers is None else worker_count(workers)
        self.chosen: Engine | None = None
        self.name = ""

    def setup(self, client: ClientModule, data: Split) -> None:
        """Set up the engines that run on this device and can train this model."""
        super().setup(client, data)
        self.chosen = None
        self.candidates: dict[str, Engine] = {}
        if data.images.device.type == "cuda":
            engines: dict[str, Engine] = {"cuda": CudaEngine(), "streams": CudaEngine(lanes=0)}
        else:
            engines = {
                "cpu": CpuEngine(self.asked),
                "autograd": CpuEngine(self.asked, compiled=False),
                # The other form of convolution is slower on every CPU so far.
                "cuda": CudaEngine(convolution="grouped"),
            }
        for name, engine in engines.items():
            try:
                engine.check(client, data.input_shape)
            except ValueError as error:
                log.info("engine auto: not %s: %s", name, error)
                continue
            engine.setup(client, data)
            self.candidates[name] = engine

    @property
    def kind(self) -> str:  # type: ignore[override]
        """What was chosen."""
        return f"{self.name}: {self.chosen.kind}" if self.chosen else "not chosen yet"

    def state(self) -> dict[str, Any]:
        """The engine's name and its own state."""
        return {"engine": self.name, **self._engine().state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the engine that the checkpoint's run began with; see :class:`Engine`."""
        state = dict(state)
        name = state.pop("engine")
        if name not in self.candidates:
            raise UserError(
                f"the checkpoint was trained with engine {name}, which does not run here; remove "
                "the cell's folder in work/ to start it anew"
            )
        self._take(name)
        self._engine().restore(state)

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Choose, if that is still to be done, and train; see :class:`Engine`."""
        if self.chosen is None:
            self.choose(theta, plan)
        return self._engine().train(theta, plan)

    def choose(self, theta: Tensor, plan: Plan) -> None:
        """Take the fastest for such plans, as was remembered or is measured now."""
        self._take(self._fastest(theta, plan))
        # What it settled on while it was measured is another plan's.
        self._engine().setup(self.client, self.data)

    def predictor(self, theta: Tensor) -> Predict:
        """The chosen engine's."""
        return self.chosen.predictor(theta) if self.chosen else super().predictor(theta)

    def gradient(
        self, theta: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """The chosen engine's."""
        return self.chosen.gradient(theta, images, labels) if self.chosen else None

    def _engine(self) -> Engine:
        assert self.chosen
        return self.chosen

    def _take(self, name: str) -> None:
        self.name, self.chosen = name, self.candidates[name]
        self.candidates = {name: self.chosen}

    def _fastest(self, theta: Tensor, plan: Plan) -> str:
        lanes, names = plan.lanes, list(self.candidates)
        # Roughly, since cohorts of ragged clients are all a little different.
        shape = [
            len(lanes).bit_length(),
            median_low(lane.num_steps for lane in lanes).bit_length(),
            median_low(max(lane.sizes) for lane in lanes),
        ]

        def measure() -> str:
            trial = Plan(
                plan.round,
                [replace(lane.first(_STEPS), rule=LocalRule()) for lane in lanes[:_LANES]],
            )
            name, seconds = fastest(
                {
                    name: Candidate(partial(engine.train, theta, trial), engine.workers)
                    for name, engine in self.candidates.items()
                }
            )
            log.info("engine auto: %s", {n: f"{1e3 * s:.1f} ms" for n, s in seconds.items()})
            return name

        if len(names) == 1:
            return names[0]
        workers = [engine.workers for engine in self.candidates.values()]
        question = ["auto", described(self.client), names, workers, shape]
        name = remembered(question, names, measure)
        log.info("engine auto: chose %s", name)
        return name
