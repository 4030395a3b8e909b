"""Lanes over the cores: one thread, one resident model and one row of the result each."""

import copy
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Predict, Trained
from benchmark.engine.client import ClientModule, watched
from benchmark.engine.layout import supported
from benchmark.engine.native import NativeModel, available
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.rules import LocalLoss, Order, acts_on_steps
from benchmark.models.dropout import set_keys
from benchmark.utils.checks import worker_count

log = logging.getLogger("benchmark")

_SHARE = 250
"""Images that a worker reads on end: waking it costs more than it gains from smaller shares."""
_PREDICTED = 50
"""Images in a forward pass of autograd: always as many, since other shapes round differently."""


class CpuEngine(Engine):
    """Resident flat models on the CPU, ``workers`` lanes at a time, one thread each.

    A model that is a chain of common layers runs in compiled code (see ``native.py``), any other,
    and a lane with a loss or noise of its own, with autograd.

    A lane's arithmetic does not depend on the number of workers, so neither do the bits. It
    follows what was measured: parallel lanes beat parallel operators on small batches, and a
    ``Trainer``, a ``DataLoader`` or a deep copy for each client costs more than it gives.

    Args:
        workers: lanes trained at the same time; null takes one for each core, or one where
            the suite already runs a cell on each core.
        compiled: whether compiled code may be used.

    Raises:
        ValueError: ``workers`` is below 1.
    """

    device_types = ("cpu",)

    def __init__(self, workers: int | None = None, compiled: bool = True):
        self.compiled = compiled
        default = torch.get_num_threads()
        self.workers = default if workers is None else worker_count(workers)

    def setup(self, client: ClientModule, data: Split) -> None:
        """Make one resident model for each worker."""
        super().setup(client, data)
        native = self.compiled and supported(client) and available()
        self.kind = "compiled" if native else "autograd"
        log.info("engine cpu: %s, %d lanes at a time", self.kind, self.workers)
        self.models: SimpleQueue[NativeModel | _ResidentModel] = SimpleQueue()
        for _ in range(self.workers):
            self.models.put((NativeModel if native else _ResidentModel)(client, data))

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train the lanes, the longest first so that no worker ends up alone with it."""
        theta = theta.detach()
        updates = theta.new_empty(len(plan.lanes), len(theta))
        losses = theta.new_empty(len(plan.lanes))
        statistics = theta.new_empty(len(plan.lanes), len(self.client.statistics()))

        def train_lane(model: NativeModel | _ResidentModel, i: int) -> None:
            lane = plan.lanes[i]
            if lane.by_autograd and isinstance(model, NativeModel):
                model = _ResidentModel(self.client, self.data)
            losses[i] = model.train(theta, lane)
            torch.sub(model.theta, theta, out=updates[i])
            statistics[i] = model.statistics

        order = sorted(range(len(plan.lanes)), key=lambda i: -sum(plan.lanes[i].sizes))
        self._spread(train_lane, order)
        return Trained(updates, losses, statistics)

    def predictor(self, theta: Tensor) -> Predict:
        """As every engine's; the images are shared out to the workers."""
        # A copy: the resident models know packed weights by the tensor that they came from.
        theta = theta.detach().clone()
        shape = self.data.input_shape

        def predict(images: Tensor) -> Tensor:
            if images.shape[1:] != shape:
                expected = ", ".join(map(str, shape))
                raise ValueError(f"images must be (b, {expected}), got {tuple(images.shape)}")
            shares = images.to(theta.dtype).split(_SHARE)
            logits: list[Tensor] = [theta] * len(shares)

            def read(model: NativeModel | _ResidentModel, i: int) -> None:
                logits[i] = model.predict(theta, shares[i])

            # Compiled code needs no thread of its own for its bits; starting one takes as long as
            # reading 50 images.
            alone = self.workers == 1 and self.kind == "compiled"
            (self._in_turn if alone else self._spread)(read, range(len(shares)))
            return torch.cat(logits)

        return predict

    def gradient(
        self, theta: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """In compiled code, on this thread; see :class:`Engine`."""
        model = self.models.get()
        try:
            if not isinstance(model, NativeModel) or len(images) == 0:
                return None
            # A copy, as in :meth:`predictor`.
            return model.gradient(theta.detach().clone(), images.to(theta.dtype), labels)
        finally:
            self.models.put(model)

    def _spread(
        self, work: Callable[["NativeModel | _ResidentModel", int], None], items: Iterable[int]
    ) -> None:
        """Do ``work`` with a resident model for each item, ``workers`` at the same time."""
        # A pool for one worker too: in a thread of its own an operator stays on one core, and
        # split over several it would round differently.
        with ThreadPoolExecutor(
            self.workers, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            for _ in pool.map(lambda item: self._in_turn(work, [item]), items):
                pass

    def _in_turn(
        self, work: Callable[["NativeModel | _ResidentModel", int], None], items: Iterable[int]
    ) -> None:
        """Do it on this thread."""
        for item in items:
            model = self.models.get()
            try:
                work(model, item)
            finally:
                self.models.put(model)


class _ResidentModel:
    """A copy of the client whose parameters and gradients are views of two flat vectors."""

    def __init__(self, client: ClientModule, data: Split):
        self.shared, self.client, self.data = client, copy.deepcopy(client), data
        self.theta = self.client.flat()
        self.gradient = torch.zeros_like(self.theta)
        parameters = self.client.model.parameters()
        values, gradients = self.client.split(self.theta), self.client.split(self.gradient)
        for parameter, value, gradient in zip(
            parameters, values.values(), gradients.values(), strict=True
        ):
            parameter.data, parameter.grad = value, gradient
        self.statistics = self.client.statistics()
        for name, own in self.client.split_statistics(self.statistics).items():
            owner, _, kind = name.rpartition(".")
            self.client.model.get_submodule(owner).register_buffer(kind, own)

    def train(self, start: Tensor, lane: Lane) -> Tensor:
        """Leave the lane's weights in ``self.theta``; return the mean loss."""
        client, theta, rule = self.client.train(), self.theta, lane.rule
        theta.copy_(start)
        self.statistics.copy_(self.shared.statistics())
        views = None if lane.views is None else lane.views.flatten(0, 1)
        images = _laid_out(self.data.pixels(lane.indices.flatten(), theta.dtype, views))
        images = images.unflatten(0, lane.indices.shape)
        total, before = theta.new_zeros(()), theta
        state = rule.begin(start, Order())
        for step, size in enumerate(lane.sizes):
            set_keys(client.dropouts, lane.dropout_seed, step)
            self.gradient.zero_()
            seen = lane.seen(images[step, :size], step)
            loss = self._loss(seen, lane.labels[step, :size], lane.loss)
            loss.backward()
            if acts_on_steps(rule):
                before = theta.clone()
            theta.sub_(self.gradient, alpha=lane.rates[step] if lane.rates else client.lr)
            self._apply(rule.after_step(theta, before, start, state))
            if lane.epoch_ends[step]:
                self._apply(rule.after_epoch(theta, start, state))
            total += loss.detach()
        return total / lane.num_steps

    def _loss(self, images: Tensor, labels: Tensor, own: LocalLoss | None) -> Tensor:
        if own is None:
            return self.client.loss(self.client.model(images), labels)
        with watched(self.client.output, given=True) as features:
            logits = self.client.model(images)
        return own(logits, features[0], labels)

    @torch.no_grad()
    def predict(self, theta: Tensor, images: Tensor) -> Tensor:
        """Logits in evaluation mode."""
        self.theta.copy_(theta)
        self.statistics.copy_(self.shared.statistics())
        client = self.client.eval()
        return torch.cat([client(part) for part in _laid_out(images).split(_PREDICTED)])

    def _apply(self, theta: Tensor) -> None:
        if theta is not self.theta:
            self.theta.copy_(theta)


def _laid_out(images: Tensor) -> Tensor:
    """Color images with channels innermost, in which steps take 60 to 85 % of the time."""
    return images if images.shape[1] == 1 else images.to(memory_format=torch.channels_last)
