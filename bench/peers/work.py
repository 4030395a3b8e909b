"""What every simulator gets: a cohort's images, where the model starts, and how clients train.

Imports nothing that the peers' environment lacks.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.models.resnet import ResNet

EPOCHS, BATCH, LR = 5, 20, 0.1
MODELS = ("paper", "small", "resnet8")
FILE = "work.npz"


@dataclass(frozen=True)
class Work:
    """Federated averaging with full participation of K clients that have n images each.

    Batches are taken in the stored order, since pfl's data sets do not shuffle; so without dropout
    every simulator computes the same global model, to rounding.

    Attributes:
        model: one of ``MODELS``.
        dropout: whether the model's dropout is active; only ``paper`` has any.
        images: ``(K, n, C, H, W)`` uint8.
        labels: ``(K, n)`` int64.
        theta: ``(P,)``, the initial global model in the order of its parameters; everybody trains
            in its precision.
    """

    model: str
    dropout: bool
    images: np.ndarray
    labels: np.ndarray
    theta: np.ndarray

    def write(self, folder: Path) -> None:
        """Into a folder, for the simulators' processes."""
        np.savez(folder / FILE, **asdict(self))

    @staticmethod
    def read(folder: Path) -> "Work":
        """What ``write`` wrote."""
        with np.load(folder / FILE) as file:
            return Work(
                str(file["model"]),
                bool(file["dropout"]),
                *(file[name] for name in ("images", "labels", "theta")),
            )

    @property
    def clients(self) -> int:
        """K."""
        return len(self.labels)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of training."""
        return torch.from_numpy(self.theta).dtype

    def client(self, index: int) -> tuple[Tensor, Tensor]:
        """A client's images ``(n, C, H, W)`` in [0, 1], and their labels ``(n,)``."""
        images = torch.from_numpy(self.images[index]).to(self.dtype)
        return images / 255, torch.from_numpy(self.labels[index])

    def network(self) -> nn.Module:
        """The initial global model, in training mode."""
        network = untrained(self.model, self.dropout).to(self.dtype)
        # A copy, since parameters become views of it.
        vector_to_parameters(torch.tensor(self.theta), network.parameters())
        return network


def untrained(model: str, dropout: bool) -> nn.Module:
    """One of ``MODELS``, with weights drawn anew."""
    if model == "resnet8":
        return ResNet(blocks=(1, 1, 1), channels=(16, 32, 64))
    return PaperCNN(dropout=dropout) if model == "paper" else SmallCNN()


def flat(parameters: Iterable[Tensor]) -> np.ndarray:
    """A model's parameters as one vector ``(P,)``."""
    return parameters_to_vector(parameters).detach().numpy()
