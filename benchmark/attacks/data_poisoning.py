"""Plain data poisoning: what every other attack has to beat."""

from benchmark.attacks.base import CompromisedClient
from benchmark.attacks.poisoning import Poisoning
from benchmark.engine.plan import Examples, Lane


class DataPoisoning(Poisoning):
    """Trains on batches with a share p of poison and submits what came of it, not boosted.

    BadNets (Gu et al. 2017) by federated clients, called naive or baseline elsewhere. p is 20/64
    in the code of DBA, 0.25 in A3FL's, 0.5 in others.

    Args:
        epochs: passes over the local data; null takes the protocol's.
        poison_share: p, above 0 to 1.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Gu et al. 2017, arXiv 1708.06733; Bagdasaryan et al. 2018, arXiv 1807.00459, baseline"

    def __init__(
        self,
        epochs: int | None = None,
        poison_share: float = 0.3125,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane, on poisoned batches."""
        return [self.trained(client, self.poisoned(client, client.poison(backdoor)))]
