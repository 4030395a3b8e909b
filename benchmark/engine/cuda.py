"""All lanes in one vectorized step, resident on the device, replayed as a CUDA graph."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Trained
from benchmark.engine.choices import Candidate, described, fastest, remembered
from benchmark.engine.client import ClientModule
from benchmark.engine.convolution import FORMS, Form
from benchmark.engine.plan import Plan
from benchmark.engine.probe import probe
from benchmark.engine.schedule import Chunk, Followed, most_common, next_chunk, rounded
from benchmark.engine.streams import train_apart
from benchmark.engine.vectorized import Precision, VectorizedStep, fitting
from benchmark.utils.checks import at_least, one_of

log = logging.getLogger("benchmark")

_LANES_ON_CPU = 16
"""More do not make a step on a CPU faster."""
_EXHAUSTED = ("out of memory", "unable to find an engine", "ALLOC_FAILED")
"""How CUDA, cuDNN and cuBLAS say that memory is used up."""
_LANES_COMPARED = 32
"""So many tell the two forms of a convolution apart."""


class CudaEngine(Engine):
    """Lanes side by side: one step of all of them is one vectorized step.

    Made for a GPU, where the step is captured once as a CUDA graph and replayed, and the host
    only enqueues: the plan is brought to the device before the round, and nothing is read back
    within it. On a CPU the same code runs without a graph, slower than the ``cpu`` engine.

    Lanes that do not fit into memory together are trained in chunks; where memory runs out all
    the same, in smaller ones, and the log says so. The same chunks give the same bits.

    Args:
        precision: ``strict``, ``tf32`` or ``bf16``, see ``VectorizedStep``.
        lanes: the most lanes side by side; null takes what fits, and 0 has none: lanes are trained
            one at a time, as the reference does, on a few streams of the GPU. So is any model.
        convolution: ``grouped`` or ``matmul``, see ``convolution.Form``; null measures both.

    Raises:
        ValueError: an unknown ``precision`` or ``convolution``, ``lanes`` below 0, or single lanes
            in ``bf16``.
    """

    def __init__(
        self,
        precision: Precision = "strict",
        lanes: int | None = None,
        convolution: Form | None = None,
    ):
        self.precision = one_of("precision", Precision, precision)
        self.most_lanes = None if lanes is None else at_least("lanes", 0, lanes)
        self.asked = convolution and one_of("convolution", Form, convolution)
        if lanes == 0 and precision == "bf16":
            raise ValueError("lanes=0 trains in the precision of the weights; precision=strict")

    def check(self, client: ClientModule, image: Sequence[int]) -> None:
        """See :class:`Engine`: what ``torch.func.vmap`` cannot map, lane by lane, is refused."""
        if self.most_lanes == 0:
            return
        if client.statistic_shapes:
            raise ValueError(
                "it pads batches, which changes the statistics of BatchNorm; norm=group, or "
                "engine=cpu, engine=reference or engine.lanes=0, which train it"
            )
        probe(client, image)

    def setup(self, client: ClientModule, data: Split) -> None:
        """Nothing is measured or reserved before the first plan is seen."""
        super().setup(client, data)
        self.form, self.limit = self.asked, self.most_lanes
        self.step: VectorizedStep | None = None

    @property
    def kind(self) -> str:  # type: ignore[override]
        """What was chosen."""
        if self.limit == 0:
            return "one lane at a time, on streams"
        return f"vectorized, {self.form} convolution, at most {self.limit} lanes at once"

    def state(self) -> dict[str, Any]:
        """Device, form of the convolution and size of the chunks: all change the bits."""
        return {**self._where(), "convolution": self.form, "lanes": self.limit}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the same form and the same chunks; see :class:`Engine`."""
        mine = {**state, **self._where()}
        if state != mine or state.keys() != self.state().keys():
            raise self._other(state)
        self.form, self.limit = state["convolution"], state["lanes"]

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train chunk after chunk; see :class:`Engine`."""
        theta = theta.detach()
        updates = theta.new_empty(len(plan.lanes), len(theta))
        losses = theta.new_empty(len(plan.lanes))
        alone = [i for i, lane in enumerate(plan.lanes) if lane.by_autograd or self.limit == 0]
        waiting = [i for i in range(len(plan.lanes)) if i not in alone]
        while waiting and self.limit != 0:
            chunk = self._next_chunk(plan, waiting)
            try:
                self._train(theta, chunk, updates, losses)
                waiting = [i for i in waiting if i not in chunk.positions]
                continue
            except RuntimeError as error:
                if not any(words in str(error) for words in _EXHAUSTED):
                    raise
            # Beyond the handler, whose traceback keeps the buffers alive.
            self._shrink(len(chunk.lanes))
        if alone := sorted(alone + waiting):
            own = train_apart(self.client, self.data, theta, [plan.lanes[i] for i in alone])
            if len(alone) == len(losses):
                return own
            updates[alone], losses[alone] = own.updates, own.losses
        return Trained(updates, losses)

    def _next_chunk(self, plan: Plan, waiting: list[int]) -> Chunk:
        if self.form is None or self.limit is None:
            # The width that most lanes have: an adversary's full batch is the exception.
            self._decide(*most_common(plan.lanes))
        assert self.limit
        return next_chunk(
            plan.lanes, waiting, self.limit, len(self.client.dropouts), self.client.lr
        )

    def _train(self, start: Tensor, chunk: Chunk, updates: Tensor, losses: Tensor) -> None:
        device, on_gpu = start.device, start.device.type == "cuda"
        step = self._reserve(len(chunk.lanes), max(chunk.widths), chunk.views is not None)
        indices, labels, sizes, keys, rates = (
            part.to(device, non_blocking=True)
            for part in (chunk.indices, chunk.labels, chunk.sizes, chunk.keys, chunk.rates)
        )
        positions = torch.arange(indices.shape[2], device=device)
        own = positions < sizes[:, :, None]
        shares = own / sizes[:, :, None].clamp(min=1).to(start.dtype)
        # A batch is filled up with its own first example: the loss of a stranger may be infinite,
        # and 0 · inf is NaN.
        indices = torch.where(own, indices, indices[:, :, :1])
        labels = torch.where(own, labels, labels[:, :, :1])
        if chunk.views is not None:
            views = chunk.views.to(device, non_blocking=True)
            views = torch.where(own[..., None], views, views[:, :, :1])
        step.theta.copy_(start)
        step.losses.zero_()
        step.active.zero_()
        step.rates.fill_(1)
        followed = Followed(start, chunk)
        for t, (count, width) in enumerate(zip(chunk.counts, chunk.widths, strict=True)):
            step.indices[:count, :width].copy_(indices[t, :count, :width])
            step.labels[:count, :width].copy_(labels[t, :count, :width])
            step.shares[:count, :width].copy_(shares[t, :count, :width])
            step.keys[:count].copy_(keys[t, :count])
            if step.views is not None:
                seen = 0 if chunk.views is None else views[t, :count, :width]
                step.views[:count, :width] = seen
            step.rates[:count].copy_(rates[t, :count])
            torch.gt(sizes[t], 0, out=step.active[: len(chunk.lanes)])
            followed.remember(step.theta, t)
            if on_gpu:
                # Every other size is another graph to capture.
                usual = max(width, chunk.widths[0])
                step.shares[:count, width : rounded(usual)].zero_()
                step.indices[:count, width : rounded(usual)] = step.indices[:count, :1]
                step.labels[:count, width : rounded(usual)] = step.labels[:count, :1]
                if step.views is not None:
                    step.views[:count, width : rounded(usual)] = step.views[:count, :1]
                count, width = rounded(count), rounded(usual)
            step.run(count, width)
            followed.apply(step.theta, t)
        for row, position in enumerate(chunk.positions):
            torch.sub(step.theta[row], start, out=updates[position])
            losses[position] = step.losses[row] / chunk.lanes[row].num_steps

    def _reserve(self, lanes: int, width: int, viewed: bool) -> VectorizedStep:
        """The buffers, larger ones where these do not hold the chunk."""
        lanes, width = rounded(lanes), rounded(width)
        step = self.step
        sees = step is not None and (step.views is not None or not viewed)
        if step and sees and step.lanes >= lanes and step.width >= width:
            return step
        if step:
            lanes, width = max(lanes, step.lanes), max(width, step.width)
            viewed = viewed or step.views is not None
        self.step = step = None
        self.step = self._make_step(self.form or FORMS[0], lanes, width, viewed)
        return self.step

    def _make_step(self, form: str, lanes: int, width: int, viewed: bool = False) -> VectorizedStep:
        return VectorizedStep(self.client, self.data, form, self.precision, lanes, width, viewed)

    def _decide(self, lanes: int, width: int) -> None:
        """Choose what the configuration leaves open, by measuring on a cohort's shape."""
        lanes, width = rounded(lanes), rounded(width)
        device = self.data.images.device.type
        if self.limit is None:
            make = partial(self._make_step, self.asked or FORMS[1])
            self.limit = fitting(make, width) if device == "cuda" else _LANES_ON_CPU
        # Both forms are in memory at once while they are compared.
        lanes = min(lanes, max(1, self.limit // 2), _LANES_COMPARED)

        def measure() -> str:
            works = {
                form: partial(self._make_step(form, lanes, width).run, lanes, width)
                for form in FORMS
            }
            # The first call captures a graph, which is not what is compared.
            for work in works.values():
                work()
            return fastest({form: Candidate(work) for form, work in works.items()})[0]

        if self.form is None:
            question = ["convolution", device, described(self.client), self.precision, lanes, width]
            self.form = cast(Form, remembered(question, FORMS, measure))
        log.info("engine cuda: %s", self.kind)

    def _shrink(self, lanes: int) -> None:
        """Go on with half as many lanes at once; with none in a vectorized step, if it was one."""
        self.step = None
        if self.data.images.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        self.limit = -(-lanes // 2) if lanes > 1 else 0
        log.warning("engine cuda: out of memory with %d lanes at once; now %d", lanes, self.limit)
