"""What one client trains: model, loss, local optimizer, as an ordinary Lightning module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.models.dropout import key_dropouts, set_keys
from benchmark.utils.checks import positive


@dataclass(frozen=True)
class Layer:
    """One parameter of the model.

    Attributes:
        name: as the model has it, ``fc2.weight`` for example.
        place: where it lies in a flat vector.
        shape: as the model has it.
        is_convolution: whether it is a convolution's.
        is_output: whether it is of the last module that has parameters, which gives the logits.
    """

    name: str
    place: slice
    shape: tuple[int, ...]
    is_convolution: bool = False
    is_output: bool = False

    def of(self, rows: Tensor) -> Tensor:
        """Its part of flat vectors ``(..., P)``, in its shape: ``(..., *shape)``."""
        return rows[..., self.place].unflatten(-1, self.shape)


def layers_of(shapes: Mapping[str, Sequence[int]]) -> tuple[Layer, ...]:
    """Parameters of these names and shapes, in the order of a flat vector.

    Those of the last one's module are the output layer, those of four axes are convolutions.

    >>> [(x.name, x.place, x.is_output) for x in layers_of({"a.weight": (2, 3), "b.weight": (4,)})]
    [('a.weight', slice(0, 6, None), False), ('b.weight', slice(6, 10, None), True)]
    """
    found, start, output = [], 0, list(shapes)[-1].rpartition(".")
    for name, shape in shapes.items():
        place = slice(start, start := start + torch.Size(shape).numel())
        owner = name.rpartition(".")
        is_output = owner[0] == output[0] if output[0] else name == output[2]
        found.append(Layer(name, place, tuple(shape), len(shape) == 4, is_output))
    return tuple(found)


class ClientModule(pl.LightningModule):
    """A client's local training: w ← w − lr · ∇ (1/b) Σ cross-entropy, McMahan et al. 2017.

    ``Trainer.fit(client_module, one_clients_loader)`` trains one client; the engines run the
    same model, loss and step for a whole cohort.

    Args:
        model: any ``nn.Module`` from images ``(b, C, H, W)`` to logits ``(b, classes)``.
            Its ``nn.Dropout`` layers are replaced by keyed ones, so that every engine drops
            the same values.
        lr: local learning rate, 0.01 to 0.3 for the models here.
        dropout_seed: seed of the dropout masks when trained by a ``Trainer`` of its own.

    Raises:
        ValueError: the model keeps running statistics (BatchNorm), which are not parameters
            and so no part of a client update; it has dropout other than ``nn.Dropout``, whose
            masks cannot be repeated; or ``lr`` is not positive.
    """

    def __init__(self, model: nn.Module, lr: float, dropout_seed: int = 0):
        super().__init__()
        positive("client_lr", lr)
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
                raise ValueError(
                    f"layer '{name}' ({type(module).__name__}) keeps running statistics, which "
                    "a client update cannot carry; use nn.GroupNorm instead"
                )
        self.model = model
        self.lr = lr
        self.dropout_seed = dropout_seed
        self.dropouts = key_dropouts(model)
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                raise ValueError(
                    f"layer '{name}' ({type(module).__name__}) draws from torch's global "
                    "generator, which no run could repeat; use nn.Dropout"
                )
        self.shapes = [(name, p.shape) for name, p in model.named_parameters()]

    @property
    def num_parameters(self) -> int:
        """P, the length of a flat update."""
        return sum(shape.numel() for _, shape in self.shapes)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The parameters in the order of a flat vector."""
        result, start = [], 0
        modules = dict(self.model.named_modules())
        output = self.shapes[-1][0].rpartition(".")[0]
        for name, shape in self.shapes:
            owner = name.rpartition(".")[0]
            place = slice(start, start := start + shape.numel())
            convolves = isinstance(modules[owner], nn.modules.conv._ConvNd)
            result.append(Layer(name, place, tuple(shape), convolves, owner == output))
        return tuple(result)

    def flat(self) -> Tensor:
        """A copy of the parameters as one vector ``(P,)``."""
        return nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()

    def load(self, theta: Tensor) -> None:
        """Copy a flat vector ``(P,)`` into the parameters."""
        with torch.no_grad():
            for parameter, part in zip(
                self.model.parameters(), self.split(theta).values(), strict=True
            ):
                parameter.copy_(part)

    def split(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector ``(P,)``, by parameter name and in its shape."""
        sizes = [shape.numel() for _, shape in self.shapes]
        parts = zip(self.shapes, theta.split(sizes), strict=True)
        return {name: part.view(shape) for (name, shape), part in parts}

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.model(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch, a scalar."""
        return cross_entropy(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One local step of plain Lightning training."""
        set_keys(self.dropouts, self.dropout_seed, self.global_step)
        images, labels = batch
        return self.loss(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD without momentum, as in the paper."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)
