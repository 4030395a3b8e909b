"""What an engine is: it turns a global model and a plan into client updates."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmark.client import ClientModule
from benchmark.data.dataset import Split
from benchmark.engine.plan import Plan

Predict = Callable[[Tensor], Tensor]
"""Images ``(b, 1, 28, 28)`` to logits ``(b, classes)``."""


@dataclass(frozen=True)
class Trained:
    """What came out of a plan of L lanes.

    Attributes:
        updates: ``(L, P)``, local − global, in the dtype of the global model.
        losses: ``(L,)``, mean training loss over each lane's steps.
    """

    updates: Tensor
    losses: Tensor


class Engine(ABC):
    """Local training of a whole cohort. An engine knows no attack and no defense."""

    device_types: tuple[str, ...] = ("cpu", "cuda")
    kind: str = "autograd"
    """How the lanes are computed, known once a plan is trained; goes into the record."""
    evaluation_batch: int = 200
    """Images at a time for a predictor: larger batches leave the caches of a CPU, at half the
    speed."""

    def setup(self, client: ClientModule, data: Split) -> None:
        """Prepare for a model and for training data that is resident on the model's device.

        Raises:
            ValueError: this engine cannot train the model; says why, and which can.
        """
        self.client, self.data = client, data

    @abstractmethod
    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train every lane from the global model ``theta`` ``(P,)``, which stays as it is.

        The plan fixes order, batches and seeds, so every engine gives the same updates, to
        rounding.
        """

    def predictor(self, theta: Tensor) -> Predict:
        """The model with the weights ``theta`` ``(P,)`` in evaluation mode.

        It is good until the next call of ``train`` or ``predictor``.
        """
        self.client.load(theta)
        return self.client.eval()
