"""A whole client in one call: models that are a chain of common layers, compiled for this CPU.

``native.c`` is compiled at first use. Without a compiler, or for any other model, the cpu engine
runs autograd and says so in the log.
"""

import ctypes
import logging
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.client import ClientModule
from benchmark.engine.layout import Layout, NativeLayer, Packed, Shape, layers_of
from benchmark.engine.plan import Lane
from benchmark.engine.rules import LocalRule, Order, acts_on_steps
from benchmark.models.dropout import layer_key
from benchmark.models.normalize import Normalize
from benchmark.utils.compiler import compiled

log = logging.getLogger("benchmark")

_SOURCE = Path(__file__).with_suffix(".c")  # includes the others
_TYPES = {torch.float32: "float", torch.float64: "double"}
_PREDICTED = 50  # images in a forward pass, and back; more no longer pays


class NativeModel:
    """A client whose local steps run in compiled code; what :class:`CpuEngine` asks of a model."""

    def __init__(self, client: ClientModule, data: Split):
        self.client, self.data = client, data
        self.chain = layers_of(client.model) or []
        self.theta, self.statistics = client.flat(), client.statistics()
        self.moments: Tensor | None = None
        if self.chain and isinstance(first := self.chain[0][1], Normalize):
            self.chain = self.chain[1:]
            channels = data.input_shape[0]
            moments = [part.flatten().expand(channels) for part in (first.mean, first.std)]
            self.moments = torch.stack(moments, dim=1).to(self.theta.dtype)
        self.start: Tensor | None = None
        self.batch = 0

    def train(self, start: Tensor, lane: Lane) -> Tensor:
        """Leave the lane's weights in ``self.theta``; return the mean loss."""
        self._fit(lane.indices.shape[1])
        self._check(lane)
        self._pack(start)
        self.packed.copy_(self.packed_start)
        keys = [
            [layer_key(lane.dropout_seed, step, layer) for layer in range(self.dropouts)]
            for step in range(lane.num_steps)
        ]
        arguments = (
            lane.indices.contiguous().numpy(),
            lane.labels.contiguous().numpy(),
            np.array(lane.sizes, dtype=np.int32),
            np.array(keys, dtype=np.uint32).reshape(lane.num_steps, -1),
            *([] if lane.views is None else [lane.views.contiguous().numpy()]),
        )
        rule, each = lane.rule, acts_on_steps(lane.rule)
        seen, order = (self.packed_start, self.order) if rule.in_any_order else (start, Order())
        state = rule.begin(seen, order)
        rates = lane.rates or (self.client.lr,) * lane.num_steps
        total, done = 0.0, 0
        for step in range(1, lane.num_steps + 1):
            last = step == lane.num_steps
            if not (each or lane.epoch_ends[step - 1] or last or rates[step] != rates[step - 1]):
                continue
            before = self._before(rule) if each else seen
            total += self._run(rates[step - 1], *(a[done:step] for a in arguments))
            done = step
            if each:
                self._go_on(rule, rule.after_step(self._weights(rule), before, seen, state))
            if lane.epoch_ends[step - 1]:
                self._go_on(rule, rule.after_epoch(self._weights(rule), seen, state))
        self.theta = self._flat(self.packed)
        return torch.tensor(total / lane.num_steps, dtype=start.dtype)

    def _weights(self, rule: LocalRule) -> Tensor:
        return self.packed if rule.in_any_order else self._flat(self.packed)

    def _before(self, rule: LocalRule) -> Tensor:
        now = self._weights(rule)
        return self.kept.copy_(now) if rule.in_any_order else now

    def _go_on(self, rule: LocalRule, theta: Tensor) -> None:
        if not rule.in_any_order:
            self.packed[self.slots] = theta
        elif theta is not self.packed:
            self.packed.copy_(theta)

    def predict(self, theta: Tensor, images: Tensor) -> Tensor:
        """Logits ``(b, classes)`` of images ``(b, C, H, W)`` in the dtype of ``theta``."""
        self._fit(_PREDICTED)
        self._pack(theta)
        images = images.contiguous()
        logits = theta.new_empty(len(images), self.classes)
        self._call(
            "predict",
            self.packed_start.data_ptr(),
            self.work.data_ptr(),
            self._scaling(),
            images.data_ptr(),
            logits.data_ptr(),
            len(images),
            _PREDICTED,
        )
        return logits

    def gradient(self, theta: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of n ≥ 1 images as in evaluation, a scalar, and its gradient."""
        self._fit(_PREDICTED)
        self._pack(theta)
        _within("label", labels, self.classes)
        images, labels = images.contiguous(), labels.contiguous()
        gradient = torch.zeros_like(self.packed)
        loss = self._call(
            "gradient",
            self.packed_start.data_ptr(),
            self.work.data_ptr(),
            self._scaling(),
            images.data_ptr(),
            labels.data_ptr(),
            gradient.data_ptr(),
            len(images),
            _PREDICTED,
        )
        return torch.tensor(loss, dtype=theta.dtype), self._flat(gradient)

    def _check(self, lane: Lane) -> None:
        _within("label", lane.labels, self.classes)
        _within("index", lane.indices, len(self.data.images))

    def _scaling(self) -> int | None:
        return None if self.moments is None else self.moments.data_ptr()

    def _fit(self, batch: int) -> None:
        if batch <= self.batch:
            return
        channels, h, w = self.data.input_shape
        dtype = self.theta.dtype
        width = getattr(_library(), f"width_{_TYPES[dtype]}")()
        built = Layout(self.chain, Shape(h, w, channels, channels), batch, width, dtype.itemsize)
        self.batch, self.dropouts, self.classes = batch, built.dropouts, built.shape.c
        self.layers = (NativeLayer * len(built.layers))(*built.layers)
        self.slots = torch.cat([built.slots[name] for name, _ in self.client.shapes])
        self.sources = torch.full((built.packed,), len(self.slots))
        self.sources[self.slots] = torch.arange(len(self.slots))
        self.order = Packed(self.slots, built.packed)
        self.packed = torch.zeros(built.packed, dtype=dtype)
        self.packed_start, self.kept = torch.zeros(2, built.packed, dtype=dtype).unbind()
        self.start = None
        self.work = torch.zeros(built.work, dtype=dtype)

    def _pack(self, start: Tensor) -> None:
        if start is not self.start:
            self.start = start
            zero_last = torch.nn.functional.pad(start, (0, 1))
            # Gathered, in a fourth of the time that it takes to scatter.
            torch.index_select(zero_last, 0, self.sources, out=self.packed_start)

    def _flat(self, packed: Tensor) -> Tensor:
        return packed.index_select(0, self.slots)

    def _run(
        self,
        rate: float,
        indices: np.ndarray,
        labels: np.ndarray,
        sizes: np.ndarray,
        keys: np.ndarray,
        views: np.ndarray | None = None,
    ) -> float:
        return self._call(
            "train",
            self.packed.data_ptr(),
            self.work.data_ptr(),
            self._scaling(),
            self.data.images.data_ptr(),
            *(values.ctypes.data for values in (indices, labels, sizes, keys)),
            None if views is None else views.ctypes.data,
            keys.shape[1],
            len(sizes),
            indices.shape[1],
            rate,
        )

    def _call(self, name: str, *arguments: Any) -> Any:
        function = getattr(_library(), f"{name}_{_TYPES[self.theta.dtype]}")
        return function(self.layers, len(self.layers), *arguments)


def _within(what: str, values: Tensor, count: int) -> None:
    """Compiled code would write outside its memory where autograd raises."""
    if values.min() < 0 or values.max() >= count:
        raise IndexError(f"a {what} is outside 0 .. {count - 1}")


@cache
def available() -> bool:
    """Whether the code is compiled, or can be; logged once where not."""
    try:
        _library()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        log.warning("engine cpu: no compiled code, so autograd, which is slower (%s)", error)
        return False
    return True


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(compiled(_SOURCE)))
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    for name in _TYPES.values():
        train, predict, gradient = (
            getattr(library, f"{function}_{name}") for function in ("train", "predict", "gradient")
        )
        train.restype, predict.restype, gradient.restype = ctypes.c_double, None, ctypes.c_double
        common: list[type] = [pointer, integer, *[pointer] * 4]
        train.argtypes = [*common, *[pointer] * 5, *[integer] * 3, ctypes.c_double]
        predict.argtypes = [*common, pointer, long, integer]
        gradient.argtypes = [*common, pointer, pointer, long, integer]
    return library
