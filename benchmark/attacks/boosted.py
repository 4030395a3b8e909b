"""The unconstrained boosted backdoor attack."""

from functools import reduce
from typing import Literal

from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient
from benchmark.attacks.poisoning import BackdoorBatch, backdoor_pass
from benchmark.attacks.scaling import boosted
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import at_least, one_of

Form = Literal["paper", "code"]


class Boosted(Attack):
    """Model replacement without constraint: Δ = β (w* − w_t), β = Σ n_k / (η n_j).

    - ``paper``: w* is trained from w_t on local data ∪ D_mal, and all of it is boosted; D_mal may
      enter the union several times, the share of poisoned data in Bagdasaryan et al.
    - ``code``: Δ = Δ_local + β Δ_mal, where Δ_mal is trained from w_t on D_mal alone and only
      that part is boosted.

    Several compromised clients in one round share β evenly.

    Args:
        form: ``paper`` or ``code``.
        epochs: passes of the malicious training; null takes the protocol's local epochs for the
            paper form, and one for the code form.
        backdoor_batch: for the code form, ``full``, D_mal as one batch (the published loader),
            or ``batch``, in batches of the protocol's size.
        copies: for the paper form, how often D_mal enters the union; 1 in the paper.

    Raises:
        ValueError: an unknown form or ``backdoor_batch``, or ``epochs`` or ``copies`` below 1.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 3; Bagdasaryan et al. 2018"
    cost = "1 + d/n for d images of D_mal beside n local ones"

    def __init__(
        self,
        form: Form = "paper",
        epochs: int | None = None,
        backdoor_batch: BackdoorBatch = "full",
        copies: int = 1,
    ):
        super().__init__()
        self.form = one_of("form", Form, form)
        self.epochs = None if epochs is None else at_least("epochs", 1, epochs)
        self.backdoor_batch = one_of("backdoor_batch", BackdoorBatch, backdoor_batch)
        self.copies = at_least("copies", 1, copies)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on the union, or an honest one and one on D_mal."""
        if self.form == "paper":
            union = reduce(Examples.__add__, [backdoor] * self.copies, client.local)
            epochs = self.epochs or client.epochs
            return [client.batches(union, epochs, client.batch_size, "backdoor")]
        return [
            client.honest_lane(),
            backdoor_pass(client, backdoor, self.epochs or 1, self.backdoor_batch, "backdoor"),
        ]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Boost all of it, or the malicious part."""
        if self.form == "paper":
            return boosted(updates[:, 0], context.boosts)
        return updates[:, 0] + boosted(updates[:, 1], context.boosts)
