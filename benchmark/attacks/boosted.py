"""The unconstrained boosted backdoor attack."""

from typing import Literal

from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, boosted
from benchmark.checks import at_least, one_of
from benchmark.engine.plan import Examples, Lane, LocalClient

Form = Literal["paper", "code"]


class Boosted(Attack):
    """Model replacement without constraint: Δ = β (w* − w_t), β = Σ n_k / (η n_j).

    - ``paper``: w* is trained from w_t on local data ∪ D_mal, and all of it is boosted.
    - ``code``: Δ = Δ_local + β Δ_mal, where Δ_mal is trained from w_t on D_mal alone and only
      that part is boosted.

    Several compromised clients in one round share β evenly.

    Args:
        form: ``paper`` or ``code``.
        epochs: passes of the malicious training; null takes the protocol's local epochs.

    Raises:
        ValueError: an unknown form or ``epochs`` below 1.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 3; Bagdasaryan et al. 2018"

    def __init__(self, form: Form = "paper", epochs: int | None = None):
        super().__init__()
        self.form = one_of("form", Form, form)
        self.epochs = None if epochs is None else at_least("epochs", 1, epochs)

    def lanes(self, client: LocalClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on the union, or an honest one and one on D_mal."""
        epochs = self.epochs or client.epochs
        if self.form == "paper":
            union = client.local + backdoor
            return [client.batches(union, epochs, client.batch_size, "backdoor")]
        return [
            client.honest_lane(),
            client.batches(backdoor, epochs, client.batch_size, "backdoor"),
        ]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Boost all of it, or the malicious part."""
        if self.form == "paper":
            return boosted(updates[:, 0], context.boosts)
        return updates[:, 0] + boosted(updates[:, 1], context.boosts)
