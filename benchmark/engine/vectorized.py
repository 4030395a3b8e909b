"""One local step of many lanes at once, on buffers that stay in place; a CUDA graph on a GPU."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from benchmark.data.dataset import Split
from benchmark.engine.client import ClientModule
from benchmark.engine.convolution import in_form
from benchmark.models.dropout import KeyedDropout

log = logging.getLogger("benchmark")

Precision = Literal["strict", "tf32", "bf16"]
_WARM_UPS = 3
"""Steps before a capture, so that libraries have chosen their kernels and workspaces."""


_MEMORY_SHARE = 0.8
"""Of what is free on the device; the rest is for the defense and for fragmentation."""


class VectorizedStep:
    """θ_c ← θ_c − lr · ∇ (1/b_c) Σ cross-entropy, for lanes c = 1 … C side by side.

    The first ``lanes`` rows of the buffers take part in a step. Lanes that are not ``active``
    keep their weights; examples beyond a lane's batch have a share of 0.

    Args:
        client: model, loss and learning rate.
        data: what ``indices`` point into.
        convolution: one of ``convolution.Form``.
        precision: ``strict``; ``tf32``, of CUDA's matrix products and convolutions; ``bf16``,
            forward and backward in bfloat16 on weights in full precision.
        lanes, width: the most lanes and examples in a step.
        viewed: whether ``views`` are looked at.

    Attributes:
        theta: ``(C, P)`` weights.
        losses: ``(C,)`` sum of the losses so far.
        indices, labels: ``(C, B)`` int64.
        shares: ``(C, B)``, 1/b_c for the first b_c examples, else 0.
        active: ``(C,)`` bool.
        keys: ``(C, D)`` int64, of the D dropout layers.
        views: ``(C, B, 3)`` int8, how examples are seen, or None.
        rates: ``(C,)``, by what a lane's learning rate is multiplied.
    """

    def __init__(
        self,
        client: ClientModule,
        data: Split,
        convolution: str,
        precision: str,
        lanes: int,
        width: int,
        viewed: bool = False,
    ):
        self.client, self.data, self.precision = client, data, precision
        self.lanes, self.width = lanes, width
        model = in_form(client.model, convolution).train()
        dropouts = [n for n, m in model.named_modules() if isinstance(m, KeyedDropout)]
        key_names = [f"{name}.key" for name in dropouts]
        theta = client.flat()
        device = theta.device
        self.theta = theta.new_zeros(lanes, len(theta))
        self.losses = theta.new_zeros(lanes)
        self.indices = torch.zeros(lanes, width, dtype=torch.int64, device=device)
        self.labels = torch.zeros_like(self.indices)
        self.views = self.indices.new_zeros(lanes, width, 3, dtype=torch.int8) if viewed else None
        self.shares = theta.new_zeros(lanes, width)
        self.active = torch.zeros(lanes, dtype=torch.bool, device=device)
        self.rates = theta.new_ones(lanes)
        self.keys = torch.zeros(lanes, len(dropouts), dtype=torch.int64, device=device)
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        compute = torch.bfloat16 if precision == "bf16" else theta.dtype
        model.to(compute)

        def loss(theta: Tensor, images: Tensor, labels: Tensor, shares: Tensor, keys: Tensor):
            state = client.split(theta.to(compute)) | dict(zip(key_names, keys, strict=True))
            # The other kernels of attention have no rule for vmap.
            with sdpa_kernel(SDPBackend.MATH):
                logits = functional_call(model, state, (images.to(compute),))
            return (cross_entropy(logits.to(theta.dtype), labels, reduction="none") * shares).sum()

        self.gradients = vmap(grad_and_value(loss))

    def run(self, lanes: int, width: int) -> None:
        """One step of the first ``lanes`` lanes on their first ``width`` examples."""
        with _on_gpu(self.precision) if self.pool else nullcontext():
            if self.pool is None:
                self._step(lanes, width)
                return
            if (lanes, width) not in self.graphs:
                self.graphs[lanes, width] = self._capture(lanes, width)
            graph = self.graphs[lanes, width]
            graph.replay() if graph else self._step(lanes, width)

    def _step(self, lanes: int, width: int) -> None:
        indices, labels = self.indices[:lanes, :width], self.labels[:lanes, :width]
        views = None if self.views is None else self.views[:lanes, :width].flatten(0, 1)
        images = self.data.pixels(indices.flatten(), self.theta.dtype, views)
        images = images.unflatten(0, (lanes, width))
        theta, active = self.theta[:lanes], self.active[:lanes]
        gradients, losses = self.gradients(
            theta, images, labels, self.shares[:lanes, :width], self.keys[:lanes]
        )
        # A selection, since a lane that is done may have overflowed, and 0 · inf is NaN.
        zero = theta.new_zeros(())
        steps = torch.where(active[:, None], gradients, zero)
        theta.addcmul_(steps, self.rates[:lanes, None], value=-self.client.lr)
        self.losses[:lanes].add_(torch.where(active, losses, zero))

    def _capture(self, lanes: int, width: int) -> torch.cuda.CUDAGraph | None:
        """Record the step; what the warm-up did to the lanes is taken back.

        None where the step does something that a graph cannot hold; then it runs as it is.
        """
        theta, losses = self.theta.clone(), self.losses.clone()
        current, side = torch.cuda.current_stream(), _side_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._step(lanes, width)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        captured = True
        try:
            # Graphs run one after the other and keep nothing between steps: they share memory.
            with torch.cuda.graph(graph, pool=self.pool, stream=side):
                self._step(lanes, width)
        except RuntimeError as error:
            # torch leaves the stream of a capture that failed as the current one.
            torch.cuda.set_stream(current)
            if isinstance(error, torch.OutOfMemoryError):
                raise
            log.warning("engine cuda: no graph: %s", str(error).partition("\n")[0])
            captured = False
        self.theta.copy_(theta)
        self.losses.copy_(losses)
        return graph if captured else None


def fitting(make: Callable[[int, int], VectorizedStep], width: int) -> int:
    """How many lanes of ``width`` fit into what is free: each takes what a second one adds."""
    peaks = []
    for lanes in (1, 2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        make(lanes, width).run(lanes, width)
        peaks.append(torch.cuda.max_memory_allocated())
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    share = max(1, peaks[1] - peaks[0])
    log.info("engine cuda: %d MiB free, %d for a lane", free >> 20, share >> 20)
    return max(1, int(_MEMORY_SHARE * free / share))


@cache
def _side_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


@contextmanager
def _on_gpu(precision: str) -> Iterator[None]:
    """The same bits each time, and TF32 only where it is asked for."""
    matmul, allowed = torch.backends.cuda.matmul, precision == "tf32"
    before, matmul.allow_tf32 = matmul.allow_tf32, allowed
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=allowed
        ):
            yield
    finally:
        matmul.allow_tf32 = before
