"""Lanes one at a time, several at once on the streams of a GPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.base import Trained
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Lane
from benchmark.engine.reference import train_lane

STREAMS = 4
"""Lanes at once: a step of a small network leaves most of a GPU idle, and memory is theirs."""


def train_apart(
    client: ClientModule, data: Split, theta: Tensor, lanes: Sequence[Lane], streams: int = STREAMS
) -> Trained:
    """Train lanes as the reference does, with its bits.

    The host enqueues lane after lane and waits for none, so that a GPU works on as many as there
    are streams; on a CPU one follows the other.

    Args:
        client: model and loss.
        data: what the lanes point into.
        theta: the global model ``(P,)``.
        lanes: one or more.
        streams: on which they take turns.
    """
    theta = theta.detach()
    with _turns(theta.device, min(streams, len(lanes))) as turns:
        trained = []
        for i, lane in enumerate(lanes):
            with turns[i % len(turns)]:
                local, loss, statistics = train_lane(client, data, theta, lane)
                trained.append((local - theta, loss, statistics))
    updates, losses, statistics = (torch.stack(parts) for parts in zip(*trained, strict=True))
    return Trained(updates, losses, statistics)


@contextmanager
def _turns(
    device: torch.device, count: int
) -> Iterator[Sequence[torch.cuda.StreamContext | nullcontext[None]]]:
    """Streams that begin after what was enqueued before, and that what comes after waits for."""
    if device.type == "cpu":
        yield [nullcontext()]
        return
    current, streams = torch.cuda.current_stream(), [_stream(i) for i in range(count)]
    for stream in streams:
        stream.wait_stream(current)
    try:
        yield [torch.cuda.stream(stream) for stream in streams]
    finally:
        for stream in streams:
            current.wait_stream(stream)


@cache
def _stream(i: int) -> torch.cuda.Stream:
    return torch.cuda.Stream()
