"""Means of a few random clients in front of another rule."""

import torch
from torch import Tensor

from benchmark.defenses.base import Defense
from benchmark.defenses.blocks import mean, spread
from benchmark.defenses.foolsgold import FoolsGold
from benchmark.defenses.mixing import Mixing
from benchmark.defenses.rule import Weights
from benchmark.defenses.submissions import Submissions
from benchmark.utils.checks import at_least
from benchmark.utils.randomness import generator


class Bucketing(Mixing):
    """A random order of the clients, the mean of each s in a row, then any rule on ⌈n/s⌉ means.

    The last bucket may be smaller. The rule is told the same f, and its bound must hold for ⌈n/s⌉
    rows. A client has the trust of its bucket. Cost: KP, (⌈K/s⌉, P) more.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0], [1.0], [1.0], [1.0], [1.0], [9.0]]
    >>> aggregate("bucketing", rows, assumed_compromised=1, inner="median").update
    tensor([1.])

    Args:
        assumed_compromised: f, of the inner rule.
        size: s; 2 in the paper, 2 to 5.
        inner: any defense that does no more than aggregate.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``size`` is below 1, or ``inner`` remembers clients; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Karimireddy et al. 2022, ICLR, arXiv 2006.09365"
    permutation_invariant = False

    def __init__(
        self,
        assumed_compromised: int = 1,
        size: int = 2,
        inner: Defense | None = None,
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, inner, weights)
        self.size = at_least("size", 1, size)
        if isinstance(self.inner, FoolsGold):
            raise ValueError("FoolsGold remembers clients, and a bucket is others in every round")

    def rows_for(self, num_clients: int) -> int:
        """⌈n/s⌉."""
        return -(-num_clients // self.size)

    def mixture(self, received: Submissions) -> tuple[Tensor, Tensor]:
        """Draw the order from (seed, round), then average."""
        context, n = received.context, len(received)
        source = generator(context.seed, context.round, "defense buckets")
        order = torch.randperm(n, generator=source).to(received.rows.device)
        buckets = order.split(self.size)
        own = torch.empty_like(order)
        for number, members in enumerate(buckets):
            own[members] = number
        sizes = own.bincount(minlength=len(buckets)).double()
        mixture = (own == torch.arange(len(buckets), device=own.device)[:, None]) / sizes[:, None]
        return mixture, own

    def mixed(self, received: Submissions, mixture: Tensor) -> Tensor:
        """The mean of each bucket."""
        rows = received.rows.new_empty(len(mixture), received.rows.shape[1])

        def average(number: int) -> None:
            rows[number] = mean(received.rows, mixture[number])

        spread(average, range(len(mixture)), received.workers)
        return rows
