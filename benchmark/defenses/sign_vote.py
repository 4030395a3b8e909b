"""A vote on the sign of each coordinate."""

from types import MappingProxyType

from benchmark.defenses.base import Aggregation, DefenseContext, Part
from benchmark.defenses.rule import Weights
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen
from benchmark.utils.checks import positive


class SignVote(Streamed):
    """signSGD with majority vote: γ · sign(Σ_k sign Δ_k), the sign of 0 being 0. Cost: KP.

    >>> from benchmark.testing import aggregate
    >>> aggregate("sign_vote", [[1.0, 2.0], [3.0, -1.0], [-9.0, 0.0]], step=0.5).update
    tensor([0.5000, 0.0000])

    Args:
        step: γ, in units of a coordinate; 1e-5 to 1e-2, to be searched.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``step`` is not positive; or as :class:`benchmark.defenses.rule.Rule`.
    """

    exempt = MappingProxyType(
        {"a_cohort_that_agrees_gets_its_update": "every coordinate moves by the same step"}
    )
    paper = "Bernstein et al. 2019, ICLR, arXiv 1810.05291"

    def __init__(self, step: float = 0.001, weights: Weights = "refuse"):
        super().__init__(weights=weights)
        self.step = positive("step", step)

    def look(self, received: Submissions) -> Part:
        """Count, which no float rounds for up to 2²⁴ clients."""
        votes = received.by_columns(lambda block: block.sign().sum(dim=0))
        return tally(received, votes=votes)

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Step by the sign."""
        return seen(self.step * found.sums["votes"].sign())
