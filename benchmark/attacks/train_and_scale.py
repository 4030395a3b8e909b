"""Train-and-scale, and constrain-and-scale, whose training is held near the global model."""

from torch import Tensor

from benchmark.attacks.base import AttackContext, CompromisedClient
from benchmark.attacks.poisoning import Poisoning
from benchmark.attacks.scaling import Scaling, scaled
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of, positive


class TrainAndScale(Poisoning):
    """Trains on poison, then submits γ Δ as long as the server will take it.

    - ``norm``: γ = S/‖Δ‖, the paper's.
    - ``at_most``: γ = min(β, S/‖Δ‖).
    - ``reference``: S is the norm of the client's own honest update, trained beside; it needs no
      knowledge of the server.
    - ``boost``: γ = β, and ``none``: γ = 1.

    A row of zeros stays.

    Args:
        scaling: one of the above.
        norm_bound: S, 0.05 to 50.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch, above 0 to 1.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range, or an unknown ``scaling``.
    """

    paper = "Bagdasaryan et al. 2018, arXiv 1807.00459, section 4.3"
    cost = "1; 2 with scaling=reference"

    def __init__(
        self,
        scaling: Scaling = "norm",
        norm_bound: float = 3.0,
        epochs: int | None = None,
        poison_share: float = 0.3125,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.scaling = one_of("scaling", Scaling, scaling)
        self.norm_bound = positive("norm_bound", norm_bound)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on poison; before it an honest one, where its norm is wanted."""
        lane = self.planting(client, backdoor, boost)
        return [client.honest_lane(), lane] if self.scaling == "reference" else [lane]

    def planting(self, client: CompromisedClient, backdoor: Examples, boost: float) -> Lane:
        """The lane on poison."""
        return self.trained(client, self.poisoned(client, client.poison(backdoor)))

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Scale."""
        honest = updates[:, 0] if updates.shape[1] > 1 else None
        return scaled(updates[:, -1], self.scaling, context.boosts, self.norm_bound, honest)
