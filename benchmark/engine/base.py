"""What an engine is: it turns a global model and a plan into client updates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Plan
from benchmark.utils.errors import UserError

Predict = Callable[[Tensor], Tensor]
"""Images ``(b, C, H, W)`` to logits ``(b, classes)``."""
Left = TypeVar("Left")
"""What is left of a part of a round, in the place of its updates."""


@dataclass(frozen=True)
class Trained:
    """What came out of a plan of L lanes.

    Attributes:
        updates: ``(L, P)``, local − global, in the dtype of the global model.
        losses: ``(L,)``, mean training loss over each lane's steps.
        statistics: ``(L, Q)``, running statistics at each lane's end; None where the model keeps
            none.
    """

    updates: Tensor
    losses: Tensor
    statistics: Tensor | None = None


class Engine(ABC):
    """Local training of a whole cohort. An engine knows no attack and no defense."""

    device_types: tuple[str, ...] = ("cpu", "cuda")
    kind: str = "autograd"
    """How the lanes are computed, known once a plan is trained; goes into the record."""
    workers: int = 1
    """Threads that train lanes at the same time."""
    precision: str = "strict"
    """``strict``: as the dtype of the weights says. Else what multiplications are done in."""

    def check(self, client: ClientModule, image: Sequence[int]) -> None:  # noqa: B027
        """Refuse a model that this engine cannot train on images of that shape, ``(C, H, W)``.

        Raises:
            ValueError: says why, and which engine can.
        """

    def setup(self, client: ClientModule, data: Split) -> None:
        """Prepare for a model and for training data that is resident on the model's device."""
        self.client, self.data = client, data

    def release(self) -> None:  # noqa: B027
        """Give back what is held beyond this process; ``setup`` takes it again."""

    @abstractmethod
    def train(self, theta: Tensor, plan: Plan) -> Trained:
        """Train every lane from the global model ``theta`` ``(P,)``, which stays as it is.

        Every lane begins with the running statistics that the client's model has, which stay too.

        The plan fixes order, batches and seeds, so every engine gives the same updates, to
        rounding.
        """

    def reduced(
        self, theta: Tensor, plans: Sequence[Plan], reduce: Callable[[int, Trained], Left]
    ) -> Iterator[Left]:
        """Train plan after plan, and keep of each what ``reduce`` makes of it, in their order.

        Args:
            theta: as :meth:`train` has it.
            plans: parts of a round.
            reduce: of the number of a plan and what came of it. It changes nothing, and may be
                called on a copy, elsewhere.
        """
        for number, plan in enumerate(plans):
            yield reduce(number, self.train(theta, plan))

    def predictor(self, theta: Tensor) -> Predict:
        """The model with the weights ``theta`` ``(P,)`` in evaluation mode.

        It is good until the next call of ``train`` or ``predictor``.
        """
        self.client.load(theta)
        self.client.eval()
        # Larger batches leave the caches of a CPU, at half the speed; a GPU wants them.
        batch = 200 if theta.device.type == "cpu" else 4000
        return lambda images: torch.cat([self.client(part) for part in images.split(batch)])

    def gradient(
        self, theta: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Mean cross-entropy as in evaluation, a scalar, and its gradient ``(P,)``.

        None of an engine that is no faster at that than autograd.
        """
        return None

    def state(self) -> dict[str, Any]:
        """What was decided at the start and changes the bits; saved with checkpoints."""
        return {**self._where(), "kind": self.kind}

    def restore(self, state: dict[str, Any]) -> None:
        """Decide as a checkpoint's engine did; called after ``setup``.

        Raises:
            UserError: that is not possible here; says what is missing.
        """
        if state != self.state():
            raise self._other(state)

    def _where(self) -> dict[str, Any]:
        return {"device": self.data.images.device.type}

    def _other(self, state: dict[str, Any]) -> UserError:
        return UserError(
            f"the checkpoint was trained with {_words(state)}, here it would go on with "
            f"{_words(self.state())}, which gives other bits; remove the cell's folder in "
            "work/ to start it anew"
        )


def _words(state: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in state.items())
