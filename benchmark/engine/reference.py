"""The oracle: plain autograd, one lane after another, on any device and in any precision."""

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Trained
from benchmark.engine.client import ClientModule, watched
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.rules import Order
from benchmark.models.dropout import set_keys


class ReferenceEngine(Engine):
    """Every other engine is tested against this one; read it to know what a lane does."""

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train the lanes one by one."""
        trained = [train_lane(self.client, self.data, theta, lane) for lane in plan.lanes]
        return Trained(
            updates=torch.stack([local - theta for local, _, _ in trained]),
            losses=torch.stack([loss for _, loss, _ in trained]),
            statistics=torch.stack([own for _, _, own in trained]),
        )


def train_lane(
    client: ClientModule, data: Split, start: Tensor, lane: Lane
) -> tuple[Tensor, Tensor, Tensor]:
    """A lane's weights ``(P,)``, its mean loss, and its running statistics ``(Q,)``."""
    client.train()
    theta, losses = start.detach().clone(), []
    statistics = client.statistics()
    state = lane.rule.begin(start, Order())
    for step, size in enumerate(lane.sizes):
        images = data.pixels(lane.indices[step, :size], theta.dtype, lane.views_of(step))
        images = lane.seen(images, step)
        labels = lane.labels[step, :size].to(theta.device)
        set_keys(client.dropouts, lane.dropout_seed, step)
        theta.requires_grad_()
        weights = client.split(theta) | client.split_statistics(statistics)
        if lane.loss:
            with watched(client.output, given=True) as features:
                logits = functional_call(client.model, weights, (images,))
            loss = lane.loss(logits, features[0], labels)
        else:
            loss = client.loss(functional_call(client.model, weights, (images,)), labels)
        (gradient,) = torch.autograd.grad(loss, theta)
        before, rate = theta.detach(), lane.rates[step] if lane.rates else client.lr
        theta = lane.rule.after_step(before - rate * gradient, before, start, state)
        if lane.epoch_ends[step]:
            theta = lane.rule.after_epoch(theta, start, state)
        losses.append(loss.detach())
    return theta, torch.stack(losses).mean(), statistics
