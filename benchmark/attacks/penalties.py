"""What backdoor training minimizes beside its loss; the engine has taken a step on that alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.rules import Vector, length
from benchmark.engine.rules import LaneState, LocalRule, Order

Anomaly = Literal["l2", "l2_squared", "cosine"]


@dataclass(frozen=True)
class Anchored(LocalRule):
    """Minimizes α · loss + (1 − α) · L(w), where the engine has taken a step on the loss alone.

    With d = w − w_t: L = ‖d‖ (``l2``, of gradient d/‖d‖, 0 at d = 0), ‖d‖² (``l2_squared``), or
    1 − cos(w_t + s d, w_t) (``cosine``).

    Args:
        rates: lr of each step, those of the lane.
        alpha: α.
        anomaly: L.
        boost: s.
    """

    rates: Sequence[float]
    alpha: float
    anomaly: Anomaly = "l2"
    boost: float = 1.0
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """The first step."""
        return {"step": 0, "moved": torch.empty_like(start)}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """α times the step, and one on the anomaly."""
        rate = self.rates[state["step"]]
        state["step"] += 1
        moved, share = torch.sub(before, start, out=state["moved"]), rate * (1 - self.alpha)
        torch.lerp(before, theta, self.alpha, out=theta)
        if self.anomaly == "l2":
            norm = length(moved)
            return theta.sub_(moved, alpha=share / norm) if norm > 0 else theta
        pull = anomaly_gradient(moved, start, self.anomaly, self.boost)
        return theta.sub_(pull, alpha=share)


def anomaly_gradient(d: Tensor, start: Tensor, anomaly: Anomaly, boost: float = 1.0) -> Tensor:
    """∂L/∂w ``(P,)`` of an anomaly L at w = w_t + d, see :class:`Anchored`."""
    if anomaly == "l2_squared":
        return 2 * d
    if anomaly == "l2":
        norm = length(d)
        return d / norm if norm > 0 else torch.zeros_like(d)
    moved = start + boost * d
    a, b = length(moved), length(start)
    if a == 0 or b == 0:
        return torch.zeros_like(d)
    cosine = float(moved.dot(start)) / (a * b)
    return -boost * (start / (a * b) - cosine * moved / a**2)


@dataclass(frozen=True)
class Proximal(LocalRule):
    """Minimizes loss + ρ/2 ‖w − c‖², where the engine has taken a step on the loss alone.

    Args:
        rates: lr of each step, those of the lane.
        weight: ρ.
        center: c; None is the global model.
        steps: whose loss has the term; None for all.
        among: gives 1 for weights that have the term, else 0; None for all.
    """

    rates: Sequence[float]
    weight: float
    center: Vector | None = None
    steps: Sequence[bool] | None = None
    among: Vector | None = None
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """c, brought in order."""
        center = start if self.center is None else order.place(self.center().to(start))
        among = None if self.among is None else order.place(self.among().to(start))
        return {"step": 0, "center": center, "among": among}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """A step on the term."""
        step = state["step"]
        state["step"] += 1
        if self.steps is not None and not self.steps[step]:
            return theta
        pull = before - state["center"]
        if state["among"] is not None:
            pull.mul_(state["among"])
        return theta.sub_(pull, alpha=self.rates[step] * self.weight)
