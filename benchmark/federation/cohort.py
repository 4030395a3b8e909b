"""Who takes part in a round, and with what weight."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.federation.protocol import Protocol


@dataclass(frozen=True)
class Cohort:
    """Who takes part in a round.

    Attributes:
        clients: ``(K,)`` users.
        compromised: ``(K,)`` bool.
        weights: ``(K,)`` float64, sum 1.
        boosts: ``(M,)`` float64, β_j of each compromised client.
    """

    clients: Tensor
    compromised: Tensor
    weights: Tensor
    boosts: Tensor

    @property
    def places(self) -> list[int]:
        """Of the compromised, in the cohort."""
        return self.compromised.nonzero().flatten().tolist()

    @property
    def attackers(self) -> list[int]:
        """Users who are compromised, in the order of the cohort."""
        return self.clients[self.compromised].tolist()

    @staticmethod
    def of(protocol: Protocol, clients: Tensor, compromised: Tensor, sizes: Tensor) -> "Cohort":
        """These clients, weighted as the protocol says.

        Args:
            protocol: with the weighting and η.
            clients: ``(K,)`` users.
            compromised: ``(K,)`` bool.
            sizes: ``(N,)``, training examples of every user.
        """
        weights = torch.ones(len(clients), dtype=torch.float64)
        if protocol.weighting == "examples":
            weights = sizes[clients].double()
        weights /= weights.sum()
        boosts = 1 / (protocol.server_lr * weights[compromised] * compromised.sum())
        return Cohort(clients, compromised, weights, boosts)


def draw(protocol: Protocol, users: int, source: torch.Generator) -> Tensor:
    """K clients of so many users, with or without replacement: ``(K,)``."""
    K = protocol.clients_per_round
    if protocol.replacement:
        return torch.randint(users, (K,), generator=source)
    return torch.randperm(users, generator=source)[:K]
