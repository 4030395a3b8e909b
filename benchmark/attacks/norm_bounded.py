"""The norm-bounded backdoor attack: projected while it trains, boosted when it is done."""

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient
from benchmark.attacks.poisoning import BackdoorBatch, backdoor_pass
from benchmark.attacks.scaling import boosted
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.rules import LaneState, LocalRule
from benchmark.utils.checks import at_least, one_of, positive

# Submissions stop this far inside the ball, so that rounding cannot lead out of it, not even past
# a server that rejects what is longer by one unit in the last place.
_MARGIN = 1e-6


@dataclass(frozen=True)
class Projection(LocalRule):
    """Projects on the ℓ2 ball around the global model: w₀ + (w − w₀) · min(1, r/‖w − w₀‖)."""

    radius: float

    def after_epoch(self, theta: Tensor, start: Tensor, state: LaneState) -> Tensor:
        """Project all layers together."""
        delta = theta - start
        norm = torch.linalg.vector_norm(delta, dtype=torch.float64)
        scale = (self.radius / norm).clamp(max=1).to(theta.dtype)
        return start + delta * scale


class NormBounded(Attack):
    """Backdoor training within ‖β Δ‖₂ ≤ M, for servers that clip or reject long updates.

    ``rounds`` times: the local stream (the protocol's epochs and batches), one pass of D_mal,
    projection of w − w_t on the ℓ2 ball of radius M/β over all layers. Then the update is
    multiplied by β. The bound is on what is submitted, after boosting.

    Args:
        norm_bound: M; 3, 5 and 10 in the paper. By default the defense's own bound.
        rounds: R, outer rounds; 5 in the paper's code.
        backdoor_batch: ``full``, D_mal as one batch (the code), or ``batch``, in batches of the
            protocol's size (the paper's text).
        local_epochs: passes over the local data in each outer round; null takes the protocol's,
            as the paper does, and 0 trains on D_mal alone.
        backdoor_epochs: passes over D_mal in each outer round; 1 in the paper.

    Raises:
        ValueError: ``norm_bound`` is not positive, ``rounds`` or ``backdoor_epochs`` is below 1,
            ``local_epochs`` is below 0, or an unknown ``backdoor_batch``.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 3, and its published code"
    cost = "5, and 5 passes over D_mal"

    def __init__(
        self,
        norm_bound: float = 10.0,
        rounds: int = 5,
        backdoor_batch: BackdoorBatch = "full",
        local_epochs: int | None = None,
        backdoor_epochs: int = 1,
    ):
        super().__init__()
        self.norm_bound = positive("norm_bound", norm_bound)
        self.rounds = at_least("rounds", 1, rounds)
        self.backdoor_batch = one_of("backdoor_batch", BackdoorBatch, backdoor_batch)
        self.local_epochs = local_epochs
        if local_epochs is not None:
            at_least("local_epochs", 0, local_epochs)
        self.backdoor_epochs = at_least("backdoor_epochs", 1, backdoor_epochs)

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane: R times local stream, D_mal, projection."""
        epochs = client.epochs if self.local_epochs is None else self.local_epochs
        passes = []
        for i in range(self.rounds):
            lane = backdoor_pass(
                client, backdoor, self.backdoor_epochs, self.backdoor_batch, f"backdoor/{i}"
            )
            if epochs:
                local = client.batches(client.local, epochs, client.batch_size, f"local/{i}")
                lane = local.then(lane)
            passes.append(lane.ending_epoch())
        rule = Projection(radius=self.norm_bound / boost)
        return [replace(reduce(Lane.then, passes), rule=rule)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Boost; take back what rounding added, as weights can be coarse beside a small radius."""
        submitted = boosted(updates[:, 0], context.boosts)
        norm = torch.linalg.vector_norm(submitted, dim=1, keepdim=True, dtype=torch.float64)
        scale = (self.norm_bound * (1 - _MARGIN) / norm).clamp(max=1)
        return submitted * scale.to(submitted.dtype)
