"""Which lanes are trained side by side, and what each of their common steps takes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.engine.plan import Lane
from benchmark.engine.rules import LocalRule, Order, acts_on_steps
from benchmark.models.dropout import layer_keys


def rounded(n: int) -> int:
    """The next integer of four significant bits: at most an eighth more, and few of them.

    >>> [rounded(n) for n in (1, 15, 16, 17, 30, 31, 33, 300)]
    [1, 15, 16, 18, 30, 32, 36, 320]
    """
    unit = 1 << max(n.bit_length() - 4, 0)
    return -(-n // unit) * unit


@dataclass(frozen=True)
class Chunk:
    """C lanes that are trained side by side, the longest first.

    At step t the first ``counts[t]`` of them are still at work, on at most ``widths[t]``
    examples each. S, B: the most steps and examples of any; D: dropout layers.

    Attributes:
        positions: where the lanes stand in the plan.
        lanes: themselves.
        counts, widths: S integers.
        indices, labels: ``(S, C, B)`` int64.
        sizes: ``(S, C)`` int64, examples of each lane; 0 when it is done.
        keys: ``(S, C, D)`` int64, of the dropout layers.
        views: ``(S, C, B, 3)`` int8, how the examples are seen; None where all are as they are.
        rates: ``(S, C)``, learning rates of those that have their own, as a share of the
            protocol's; else 1.
    """

    positions: list[int]
    lanes: list[Lane]
    counts: list[int]
    widths: list[int]
    indices: Tensor
    labels: Tensor
    sizes: Tensor
    keys: Tensor
    views: Tensor | None
    rates: Tensor


class Followed:
    """The rules of a chunk's lanes, followed on their rows of ``(C, P)`` weights.

    Args:
        start: the global model ``(P,)``.
        chunk: the lanes.
    """

    def __init__(self, start: Tensor, chunk: Chunk):
        self.start, self.chunk = start, chunk
        rules = {c: lane.rule for c, lane in enumerate(chunk.lanes)}
        self.rules = {c: rule for c, rule in rules.items() if type(rule) is not LocalRule}
        self.states = {c: r.begin(start, Order()) for c, r in self.rules.items()}
        self.before: dict[int, Tensor] = {}

    def remember(self, theta: Tensor, t: int) -> None:
        """What weights are before step t."""
        acting = (c for c, r in self._at_work(t) if acts_on_steps(r))
        self.before = {c: theta[c].clone() for c in acting}

    def apply(self, theta: Tensor, t: int) -> None:
        """What the rules make of weights after step t."""
        for c, rule in self._at_work(t):
            row, state = theta[c], self.states[c]
            if c in self.before:
                row.copy_(rule.after_step(row.clone(), self.before[c], self.start, state))
            if self.chunk.lanes[c].epoch_ends[t]:
                row.copy_(rule.after_epoch(row.clone(), self.start, state))

    def _at_work(self, t: int) -> list[tuple[int, LocalRule]]:
        return [(c, rule) for c, rule in self.rules.items() if c < self.chunk.counts[t]]


def next_chunk(
    lanes: Sequence[Lane], waiting: Sequence[int], limit: int, dropouts: int, rate: float
) -> Chunk:
    """The widest and longest of the lanes that wait, with others like them.

    Lanes of another width wait for a chunk of their own: an adversary's full batch of some
    hundred examples would make every client's step as wide.

    Args:
        lanes: of the plan.
        waiting: positions not yet trained, at least one.
        limit: the most lanes of a chunk.
        dropouts: dropout layers of the model.
        rate: the protocol's learning rate.
    """
    order = sorted(waiting, key=lambda i: (-_width(lanes[i]), -lanes[i].num_steps, i))
    widest = _width(lanes[order[0]])
    positions = [i for i in order if _width(lanes[i]) == widest][:limit]
    chosen = [lanes[i] for i in positions]
    S, C = chosen[0].num_steps, len(chosen)
    B = max(max(lane.sizes) for lane in chosen)
    indices, labels = torch.zeros(2, S, C, B, dtype=torch.int64)
    sizes = torch.zeros(S, C, dtype=torch.int64)
    seeds = torch.tensor([lane.dropout_seed for lane in chosen])
    seen = [lane.views for lane in chosen]
    views = torch.zeros(S, C, B, 3, dtype=torch.int8) if any(v is not None for v in seen) else None
    rates = torch.ones(S, C, dtype=torch.float64)
    for c, lane in enumerate(chosen):
        steps, width = lane.num_steps, min(B, lane.indices.shape[1])
        indices[:steps, c, :width] = lane.indices[:, :width]
        labels[:steps, c, :width] = lane.labels[:, :width]
        sizes[:steps, c] = torch.tensor(lane.sizes)
        if lane.rates is not None:
            rates[:steps, c] = torch.tensor(lane.rates, dtype=torch.float64) / rate
        if views is not None and lane.views is not None:
            views[:steps, c, :width] = lane.views[:, :width]
    return Chunk(
        positions,
        chosen,
        counts=(sizes > 0).sum(1).tolist(),
        widths=sizes.amax(1).tolist(),
        indices=indices,
        labels=labels,
        sizes=sizes,
        keys=layer_keys(seeds, S, dropouts),
        views=views,
        rates=rates,
    )


def most_common(lanes: Sequence[Lane]) -> tuple[int, int]:
    """The width that most lanes have, as ``(lanes, width)``."""
    ((width, count),) = Counter(map(_width, lanes)).most_common(1)
    return count, width


def _width(lane: Lane) -> int:
    return rounded(max(lane.sizes))
