"""What backdoor training does to its weights; each treats all weights alike."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.engine.rules import LaneState, LocalRule, Order

Vector = Callable[[], Tensor]
"""Gives a flat vector ``(P,)`` when a lane begins: lanes are planned before it is known."""
Norm = Literal["l2", "linf"]
_BLOCK = 65_536


@dataclass(frozen=True)
class InTurn(LocalRule):
    """One rule after the other, after every step and every epoch."""

    rules: Sequence[LocalRule]
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """What each of them remembers."""
        return {"each": [rule.begin(start, order) for rule in self.rules]}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """All of them."""
        for rule, own in zip(self.rules, state["each"], strict=True):
            theta = rule.after_step(theta, before, start, own)
        return theta

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """All of them."""
        for rule, own in zip(self.rules, state["each"], strict=True):
            theta = rule.after_epoch(theta, start, own)
        return theta


@dataclass(frozen=True)
class Momentum(LocalRule):
    """v ← μ v + g + λ w, w ← w − lr v, as torch's SGD, where the engine has made w − lr g.

    Args:
        rates: lr of each step, those of the lane.
        momentum: μ.
        weight_decay: λ.
    """

    rates: Sequence[float]
    momentum: float
    weight_decay: float = 0.0
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """v = 0."""
        return {"v": torch.zeros_like(start), "step": 0}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """The step again, with what is carried on."""
        v, rate = state["v"], self.rates[state["step"]]
        state["step"] += 1
        v.mul_(self.momentum).add_(torch.sub(before, theta, out=theta), alpha=1 / rate)
        if self.weight_decay:
            v.add_(before, alpha=self.weight_decay)
        return torch.sub(before, v, alpha=rate, out=theta)


@dataclass(frozen=True)
class BoostedSteps(LocalRule):
    """w ← w_before + λ (w − w_before) after some steps.

    Args:
        factor: λ, or gives it when a lane begins.
        steps: which of them.
        among: gives 1 for weights that are boosted, else 0; None for all.
    """

    factor: float | Callable[[], float]
    steps: Sequence[bool]
    among: Vector | None = None
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """The factor of each weight."""
        factor = self.factor() if callable(self.factor) else self.factor
        factors: float | Tensor = factor
        if self.among is not None:
            factors = 1 + (factor - 1) * order.place(self.among().to(start))
        return {"step": 0, "factors": factors}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """The longer step."""
        step = state["step"]
        state["step"] += 1
        return theta.sub_(before).mul_(state["factors"]).add_(before) if self.steps[step] else theta


@dataclass(frozen=True)
class Unfrozen(LocalRule):
    """Only the weights in a mask move; the others stay at the global model's.

    Args:
        mask: gives ``(P,)`` bool, True where a weight may move.
    """

    mask: Vector
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """Where the fewer of both are: those that move, or those that do not."""
        mask = order.place(self.mask().to(start)) > 0
        few_move = 2 * int(mask.sum()) < len(mask)
        where = (mask if few_move else ~mask).nonzero().flatten()
        return {"few_move": few_move, "where": where, "still": start[where]}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Put back."""
        where = state["where"]
        if not state["few_move"]:
            return theta.index_copy_(0, where, state["still"])
        moved = theta[where]
        return theta.copy_(start).index_copy_(0, where, moved)


@dataclass(frozen=True)
class Ball(LocalRule):
    """Projects on ‖w − c‖ ≤ ε after some steps of an epoch, and after its last.

    Args:
        radius: ε.
        norm: of the ball, ``l2`` or ``linf``.
        every: after step b of an epoch, from 0, where b is a multiple.
        center: c; None is the global model.
    """

    radius: float
    norm: Norm = "l2"
    every: int = 1
    center: Vector | None = None
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """c, brought in order."""
        center = start if self.center is None else order.place(self.center().to(start))
        return {"step": 0, "center": center}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Project, if it is time."""
        due = state["step"] % self.every == 0
        state["step"] += 1
        return projected(theta, state["center"], self.radius, self.norm) if due else theta

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Project; the next step is the first of an epoch."""
        state["step"] = 0
        return projected(theta, state["center"], self.radius, self.norm)


class Snapshots(LocalRule):
    """Keeps the weights at the end of every epoch.

    Attributes:
        taken: flat vectors ``(P,)``, of the lane that was trained last.
    """

    in_any_order = True

    def __init__(self) -> None:
        self.taken: list[Tensor] = []

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """None yet."""
        self.taken.clear()
        return {"order": order}

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """One more."""
        self.taken.append(state["order"].flat(theta).clone())
        return theta


def projected(theta: Tensor, center: Tensor, radius: float, norm: Norm) -> Tensor:
    """θ on the ball around c, in place of θ."""
    if norm == "linf":
        return theta.sub_(center).clamp_(-radius, radius).add_(center)
    distance = length(theta - center)
    return theta if distance <= radius else theta.sub_(center).mul_(radius / distance).add_(center)


def length(vector: Tensor) -> float:
    """ℓ2 norm, of blocks and then of those: as exact as in float64, in a quarter of the time."""
    return math.sqrt(math.fsum(float(block.dot(block)) for block in vector.split(_BLOCK)))
