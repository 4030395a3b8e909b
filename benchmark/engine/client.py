"""What one client trains: model, loss, local optimizer, as an ordinary Lightning module."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@contextmanager
def watched(module: nn.Module, given: bool) -> Iterator[list[Tensor]]:
    """What a module is given meanwhile, its first argument each time, or what it makes of it."""
    seen: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(inputs[0] if given else output)

    handle = module.register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


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
        ValueError: the model has dropout other than ``nn.Dropout``, whose masks cannot be repeated;
            BatchNorm without running statistics, or with such as are no moving average; or ``lr``
            is not positive.

    Running statistics of BatchNorm, Q numbers, are no parameters, so no part of a client update,
    and no defense sees them. Every client begins with the global ones and trains by those of its
    batches; the server averages them over the clients that the defense kept, by trust and weight,
    as FedAvg does in most published code (Hsieh et al. 2020 show what unlike clients make of it).
    The global ones are those of ``model``, saved with it, and evaluation uses them everywhere. A
    compromised client's are those of its first lane.
    """

    def __init__(self, model: nn.Module, lr: float, dropout_seed: int = 0):
        super().__init__()
        positive("client_lr", lr)
        self.statistic_shapes: list[tuple[str, torch.Size]] = []
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
                raise ValueError(
                    f"layer '{name}' ({type(module).__name__}) evaluates an image by those beside "
                    "it; give it track_running_stats=True"
                )
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
                if module.momentum is None:
                    raise ValueError(
                        f"layer '{name}' ({type(module).__name__}) averages over all batches there "
                        "were, which clients do not share; give it a momentum"
                    )
                self.statistic_shapes += [
                    (f"{name}.{kind}".removeprefix("."), torch.Size([module.num_features]))
                    for kind in ("running_mean", "running_var")
                ]
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

    @property
    def output(self) -> nn.Module:
        """The last module that has parameters, which gives the logits."""
        return self.model.get_submodule(self.shapes[-1][0].rpartition(".")[0])

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
        return _split(theta, self.shapes)

    def statistics(self) -> Tensor:
        """A copy of the global running statistics as one vector ``(Q,)``."""
        buffers = dict(self.model.named_buffers())
        found = [buffers[name].detach() for name, _ in self.statistic_shapes]
        return torch.cat(found) if found else next(self.parameters()).new_empty(0)

    def load_statistics(self, statistics: Tensor) -> None:
        """Copy a vector ``(Q,)`` into the global running statistics."""
        buffers = dict(self.model.named_buffers())
        for name, part in self.split_statistics(statistics).items():
            buffers[name].copy_(part)

    def split_statistics(self, statistics: Tensor) -> dict[str, Tensor]:
        """Views of a vector ``(Q,)``, by buffer name."""
        return _split(statistics, self.statistic_shapes)

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


def _split(flat: Tensor, shapes: Sequence[tuple[str, torch.Size]]) -> dict[str, Tensor]:
    parts = zip(shapes, flat.split([shape.numel() for _, shape in shapes]), strict=True)
    return {name: part.view(shape) for (name, shape), part in parts}
