"""Rules that change the updates and hand them to another rule."""

from abc import abstractmethod
from dataclasses import replace

from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseSetting
from benchmark.defenses.central_dp import CentralDP
from benchmark.defenses.mean import Mean
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions

BESIDE = ("before_round", "honest_lane", "server_lane", "after_round", "deployed", "predictor")
"""What a defense may do besides :meth:`Defense.aggregate`."""


class Mixing(Rule):
    """Another rule on mixed updates, told the same f.

    Args:
        assumed_compromised: f, of the inner rule too.
        inner: any defense that does no more than aggregate; the mean where there is none.
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``inner`` does more, or is private; or as :class:`benchmark.defenses.rule.Rule`.
    """

    def __init__(
        self,
        assumed_compromised: int = 1,
        inner: Defense | None = None,
        weights: Weights = "refuse",
    ):
        super().__init__(assumed_compromised, weights)
        self.inner = Mean() if inner is None else inner
        kind = type(self.inner)
        more = [name for name in BESIDE if getattr(kind, name) is not getattr(Defense, name)]
        if more:
            raise ValueError(
                f"{type(self).__name__} hands updates on and nothing else; {kind.__name__} also "
                f"needs its {', '.join(more)}"
            )
        if isinstance(self.inner, CentralDP):
            # Its ε is for rows of which one client moves one.
            raise ValueError(f"CentralDP inside {type(self).__name__} is not private")
        self.needs_root_data = self.inner.needs_root_data
        if isinstance(self.inner, Rule):
            self.inner.assumed_compromised = assumed_compromised

    @abstractmethod
    def mixed(self, received: Submissions) -> tuple[Tensor, Tensor]:
        """The rows that the inner rule sees, ``(m, P)``, and which of them is each client's."""

    def rows_for(self, num_clients: int) -> int:
        """How many rows the inner rule sees of so many clients."""
        return num_clients

    def setup(self, setting: DefenseSetting) -> None:
        """Set up the inner rule.

        Raises:
            ValueError: it is not defined for as many rows; says how many it needs.
        """
        super().setup(setting)
        rows = self.rows_for(setting.clients_per_round)
        self._check(rows, self.assumed_compromised)
        self.inner.setup(replace(setting, clients_per_round=rows))

    def combine(self, received: Submissions) -> Aggregation:
        """Mix, then hand on; each client has the trust of its row."""
        rows, own = self.mixed(received)
        self._check(len(rows), received.f)
        uniform = received.weights.new_full((len(rows),), 1 / len(rows))
        clients = received.clients if len(rows) == len(received) else own.unique()
        context = replace(received.context, clients=clients)
        if isinstance(self.inner, Rule):
            inside = replace(received, rows=rows, weights=uniform, clients=clients, context=context)
            result = self.inner.combine(inside)
        else:
            result = self.inner.aggregate(rows, uniform, context)
        return result if result.trust is None else replace(result, trust=result.trust[own])

    def _check(self, rows: int, f: int) -> None:
        least = self.inner.min_clients(f)
        if rows < least:
            raise ValueError(
                f"{type(self.inner).__name__} inside {type(self).__name__} needs {least} rows or "
                f"more for assumed_compromised = {f}, it would see {rows}"
            )
