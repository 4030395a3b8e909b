"""What anybody with the model and the data does beside a round: train, evaluate, differentiate."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.data.dataset import Split
from benchmark.engine.base import Engine, Predict
from benchmark.engine.client import ClientModule, Layer, watched
from benchmark.engine.plan import Examples, Lane, Plan

_READ = 4000  # images at a time


class Workbench:
    """A federation's model, with weights of one's own.

    Weights are flat, ``(P,)``; the model is in evaluation mode wherever it is not trained.

    Args:
        client: the model and how a client trains it.
        engine: what trains lanes, and evaluates fastest.
        data: what lanes and indices point into.
    """

    def __init__(self, client: ClientModule, engine: Engine, data: Split):
        self.client, self.engine, self.data = client, engine, data

    def train(self, start: Tensor, lanes: Sequence[Lane], round: int = 0) -> Tensor:
        """The update of each of L lanes, ``(L, P)``, by the clients' local rule."""
        return self.engine.train(start, Plan(round, list(lanes))).updates

    def predictor(self, theta: Tensor) -> Predict:
        """Images to logits; good until the next training or predictor."""
        return self.engine.predictor(theta)

    def pixels(self, indices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images as the model takes them, ``(b, C, H, W)``."""
        return self.data.pixels(indices, dtype)

    @torch.no_grad()
    def features(self, theta: Tensor, images: Tensor) -> Tensor:
        """What the output layer is given, ``(b, F)``: the penultimate representation."""
        return self._seen(theta, images, self.client.output, given=True)

    def activations(self, theta: Tensor, images: Tensor, layer: str, given: bool = False) -> Tensor:
        """What the module that owns a parameter of this name makes of images, or is ``given``.

        It can be differentiated by the images.
        """
        module = self.client.model.get_submodule(layer.rpartition(".")[0])
        return self._seen(theta.detach(), images, module, given)

    @torch.no_grad()
    def accuracy(self, theta: Tensor, examples: Examples) -> float:
        """Share of examples that are given their label; NaN of none."""
        predict, hits = self.predictor(theta), []
        for indices, labels in zip(
            examples.indices.split(_READ), examples.labels.split(_READ), strict=True
        ):
            read = predict(self.pixels(indices, theta.dtype)).argmax(dim=1)
            hits.append(read.cpu() == labels.cpu())
        return torch.cat(hits).double().mean().item() if hits else float("nan")

    def gradient(
        self,
        theta: Tensor,
        images: Tensor,
        labels: Tensor,
        by: Literal["weights", "images"] = "weights",
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy, a scalar, and its gradient ``(P,)``, or that ``(b, C, H, W)``."""
        self.client.eval()
        with torch.enable_grad():
            weights, seen = theta.detach().clone(), images.detach().clone()
            of = (weights if by == "weights" else seen).requires_grad_()
            loss = self.client.loss(self._call(weights, seen), labels)
            (gradient,) = torch.autograd.grad(loss, of)
        return loss.detach(), gradient

    def curvature(self, theta: Tensor, images: Tensor, labels: Tensor, layer: Layer) -> Tensor:
        """∂/∂w Σ_j ∂L/∂w_j ``(n,)`` of mean cross-entropy L, over one layer's n weights w."""
        self.client.eval()
        with torch.enable_grad():
            weights = theta.detach().clone().requires_grad_()
            loss = self.client.loss(self._call(weights, images.detach()), labels)
            (first,) = torch.autograd.grad(loss, weights, create_graph=True)
            (second,) = torch.autograd.grad(first[layer.place].sum(), weights)
        return second[layer.place]

    def slope(self, theta: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`gradient` by the weights, in a third of its time where code is compiled.

        Its last digits are then others: those of :meth:`gradient` depend on no engine.
        """
        return self.engine.gradient(theta, images, labels) or self.gradient(theta, images, labels)

    def _call(self, theta: Tensor, images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.client.model, self.client.split(theta), (images,))
        return logits

    def _seen(self, theta: Tensor, images: Tensor, module: nn.Module, given: bool) -> Tensor:
        self.client.eval()
        with watched(module, given) as seen:
            self._call(theta, images)
        return seen[0]
