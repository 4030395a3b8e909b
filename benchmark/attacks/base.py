"""What an attack is: three hooks, each with a do-nothing default."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal

from torch import Tensor, nn

from benchmark.engine.plan import Examples, Lane, LocalClient


class Knowledge(IntEnum):
    """What the adversary knows; each level includes those before it."""

    DATA = 1
    """Its own clients: their data, the global model, the training protocol."""
    UPDATES = 2
    """Also the honest clients' updates of the round."""
    DEFENSE = 3
    """Also the defense and its parameters."""
    OMNISCIENT = 4
    """Everything."""


@dataclass(frozen=True)
class AttackContext:
    """What the adversary has at hand when it crafts a round's submissions.

    Attributes:
        round, seed: which round of which run.
        start: the global model ``(P,)`` that the round began with.
        boosts: ``(M,)`` β_j of each compromised client: the round's boosting factor
            Σ n_k / (η n_j), shared evenly by the M; K/M for a uniform mean and η = 1.
        honest_updates: ``(K − M, P)``, or None below :attr:`Knowledge.UPDATES`.
        defense: the defense, or None below :attr:`Knowledge.DEFENSE`.
    """

    round: int
    seed: int
    start: Tensor
    boosts: Tensor
    honest_updates: Tensor | None = None
    defense: nn.Module | None = None


class Attack(nn.Module):
    """How a compromised client plants the backdoor. A module, so that buffers are saved.

    Attributes:
        paper: where the attack comes from.
        knowledge: the most that it may see; contexts hold no more.
        active: False for the attack that compromises nobody.
    """

    paper: ClassVar[str]
    knowledge: ClassVar[Knowledge] = Knowledge.DATA
    active: ClassVar[bool] = True

    def lanes(self, client: LocalClient, backdoor: Examples, boost: float) -> list[Lane]:
        """What a compromised client trains on, and by what rule: L lanes, always as many.

        A round is planned while the one before still trains, so this changes no state.

        Args:
            client: whose place it takes, with the local data, correctly labelled.
            backdoor: D_mal, the adversary's own images with the label that it wants.
            boost: β_j, see :attr:`AttackContext.boosts`.

        Returns:
            One lane or more; the default trains honestly on the local data.
        """
        return [client.honest_lane()]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """What the M compromised clients of a round submit, from what their lanes gave.

        Args:
            updates: ``(M, L, P)``, local − global, for L lanes a client.
            context: what the adversary knows.

        Returns:
            ``(M, P)``; the default submits the first lane's update.
        """
        return updates[:, 0]


BackdoorBatch = Literal["full", "batch"]
"""D_mal as one batch (the paper's code), or in batches of the protocol's size (its text)."""


def backdoor_pass(
    client: LocalClient, backdoor: Examples, epochs: int, batch: BackdoorBatch, purpose: str
) -> Lane:
    """A lane of ``epochs`` passes over D_mal alone."""
    size = len(backdoor) if batch == "full" else client.batch_size
    return client.batches(backdoor, epochs, size, purpose)


def boosted(updates: Tensor, boosts: Tensor) -> Tensor:
    """β_j · Δ_j for every row of ``(M, P)``: alone among 30 with a uniform mean, β = 30.

    >>> from torch import tensor
    >>> boosted(tensor([[1.0, -2.0]]), tensor([30.0])) / 30
    tensor([[ 1., -2.]])
    """
    return updates * boosts.to(updates).unsqueeze(1)
