"""What an engine is: it turns a global model and a plan into client updates."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from benchmark.client import ClientModule
from benchmark.data.dataset import Split
from benchmark.engine.plan import Plan


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
    """How the lanes are computed, known after ``setup``; goes into the record."""

    @abstractmethod
    def setup(self, client: ClientModule, data: Split) -> None:
        """Prepare for a model and for training data that is resident on the model's device."""

    @abstractmethod
    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train every lane from the global model ``theta`` ``(P,)``, which stays as it is.

        The plan fixes order, batches and seeds, so every engine gives the same updates, to
        rounding.
        """
