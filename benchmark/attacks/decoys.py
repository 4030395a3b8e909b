"""What 3DFed submits to lead a filter astray: honest models, but for one weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, workbench_of
from benchmark.attacks.poisoning import Poisoning
from benchmark.attacks.rules import Vector
from benchmark.engine.client import Layer
from benchmark.engine.rules import LaneState, LocalRule, Order

_FAR, _PUSH, _HOLD = 10.0, 10.0, 1e-10


@dataclass(frozen=True)
class Pushed(LocalRule):
    """Minimizes (CE + L(w_j))/2, where the engine has taken a step on CE alone.

    L = −10 |w_j − c_j| up to a distance of 10, beyond that 10⁻¹⁰ |w_j − c_j|.

    Args:
        rates: lr of each step, those of the lane.
        place: j.
        center: gives c ``(P,)``.
    """

    rates: Sequence[float]
    place: int
    center: Vector
    in_any_order = True

    def begin(self, start: Tensor, order: Order) -> LaneState:
        """j, brought in order."""
        center = self.center().to(start)
        only = torch.zeros_like(center)
        only[self.place] = 1
        where = order.place(only).nonzero().flatten()
        return {"step": 0, "where": where, "center": order.place(center)[where]}

    def after_step(self, theta: Tensor, before: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Half of the step, and one on L."""
        rate, where = self.rates[state["step"]], state["where"]
        state["step"] += 1
        apart = before[where] - state["center"]
        pull = torch.where(apart.abs() > _FAR, _HOLD, -_PUSH) * apart.sign()
        torch.lerp(before, theta, 0.5, out=theta)
        theta[where] -= rate * pull / 2
        return theta


def alike(honest: Tensor, malicious: Tensor, layers: Sequence[Layer], count: int) -> list[int]:
    """Of the output's weights those in which Δ^b and Δ^m differ least: places in a flat vector."""
    output = [layer for layer in layers if layer.is_output]
    place = max(output, key=lambda layer: len(layer.shape)).place
    order = (malicious - honest)[place].abs().argsort(stable=True)
    return [place.start + int(j) for j in order[:count]]


def misleading(
    attack: Poisoning, honest: Tensor, malicious: Tensor, count: int, context: AttackContext
) -> Tensor:
    """What the last of the compromised submit, ``(count, P)``.

    Args:
        attack: by whose optimizer and epochs they train, each on its own local data.
        honest, malicious: Δ^b, whose model is c, and Δ^m.
        count: how many.
        context: of the round.
    """
    bench, _ = workbench_of(context, attack)
    center, lanes = context.start + honest, []
    places = alike(honest, malicious, context.layers, count)
    for place, client in zip(places, context.members[-count:], strict=True):
        epochs = attack.epochs or client.epochs
        lane = client.batches(client.local, epochs, client.batch_size, "decoy")
        push = Pushed(attack.rates(client, lane), place, lambda: center)
        lanes.append(attack.trained(client, lane, penalties=[push]))
    return bench.train(context.start, lanes, context.round)
