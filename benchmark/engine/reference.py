"""The oracle: plain autograd, one lane after another, on any device and in any precision."""

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.engine.base import Engine, Trained
from benchmark.engine.plan import Lane, Plan
from benchmark.models.dropout import set_keys


class ReferenceEngine(Engine):
    """Every other engine is tested against this one; read it to know what a lane does."""

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train the lanes one by one."""
        self.client.train()
        trained = [self._train_lane(theta, lane) for lane in plan.lanes]
        return Trained(
            updates=torch.stack([local - theta for local, _, _ in trained]),
            losses=torch.stack([loss for _, loss, _ in trained]),
            statistics=torch.stack([own for _, _, own in trained]),
        )

    def _train_lane(self, start: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        theta, losses = start.detach().clone(), []
        statistics = self.client.statistics()
        for step, size in enumerate(lane.sizes):
            images = self.data.pixels(lane.indices[step, :size], theta.dtype, lane.views_of(step))
            labels = lane.labels[step, :size].to(theta.device)
            set_keys(self.client.dropouts, lane.dropout_seed, step)
            theta.requires_grad_()
            state = self.client.split(theta) | self.client.split_statistics(statistics)
            logits = functional_call(self.client.model, state, (images,))
            loss = self.client.loss(logits, labels)
            (gradient,) = torch.autograd.grad(loss, theta)
            theta = lane.rule.after_step(theta.detach() - self.client.lr * gradient, start)
            if lane.epoch_ends[step]:
                theta = lane.rule.after_epoch(theta, start)
            losses.append(loss.detach())
        return theta, torch.stack(losses).mean(), statistics
