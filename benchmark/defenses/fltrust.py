"""FLTrust: clients weigh as much as they agree with what the server trained itself."""

from types import MappingProxyType

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.blocks import mean, products, row_norms
from benchmark.defenses.rule import Weights
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen
from benchmark.engine.plan import Lane, LocalClient


class FlTrust(Streamed):
    """Σ_k TS_k (‖g₀‖/e_k) Δ_k / Σ_k TS_k, with TS_k = max(0, cos(Δ_k, g₀)).

    g₀ is what the server's own training from θ came to, on its root data and by the clients' local
    rule; every update has its norm. Who points away from it is rejected; where all do, nobody is
    left. Whether a backdoor is told from honest training depends on whose images the root data
    are: records count their classes and how many of the adversary's are among them. Cost: one more
    client, KP.

    >>> from benchmark.testing import aggregate
    >>> rows = [[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]]
    >>> aggregate("fltrust", rows, root=[1.0, 0.0]).update
    tensor([0.8787, 0.2929])

    Args:
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: as :class:`benchmark.defenses.rule.Rule`; in a round whose g₀ is 0.
    """

    paper = "Cao et al. 2021, NDSS, arXiv 2012.13995"
    needs_root_data = True
    exempt = MappingProxyType(
        {
            "a_cohort_that_agrees_gets_its_update": (
                "an update is given the norm of the server's own, and weighs nothing against it"
            )
        }
    )

    def __init__(self, weights: Weights = "refuse"):
        super().__init__(weights=weights)

    def server_lane(self, server: LocalClient) -> Lane:
        """As a client's."""
        return server.honest_lane()

    def look(self, received: Submissions) -> Part:
        """Compare with the server's own update, weigh."""
        rows = received.rows
        own, length = self._own(received.context, rows)
        lengths = received.norms
        along = products(rows, own, received.workers)
        # What is so short that it cannot be made as long has no direction.
        reach = (length / lengths).to(rows).isfinite()
        scores = torch.where(reach, along / (lengths * length), 0).clamp(0, 1)
        total = scores.sum()
        shares = torch.where(scores > 0, scores * length / lengths, 0)
        update = mean(rows, shares / total if total > 0 else shares)
        return tally(received, update, scores.to(rows), scores.mean())

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Say whether anybody is left."""
        update, trust = found.aggregation.update, found.aggregation.trust
        own, length = self._own(context, update)
        if not length.isfinite():
            # The server diverged by itself, and so does the model.
            return seen(own, trust)
        info = {} if found.weight > 0 else {"all_rejected": 1}
        return seen(update, trust, root_norm=length, **info)

    def _own(self, context: DefenseContext, like: Tensor) -> tuple[Tensor, Tensor]:
        """g₀ and its norm."""
        assert context.root_update is not None
        own = context.root_update.to(like)
        length = row_norms(own[None])[0]
        if length == 0:
            raise ValueError("FlTrust has nothing to compare with: the server's own update is 0")
        return own, length
