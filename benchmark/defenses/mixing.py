"""Rules that change the updates and hand them to another rule."""

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseSetting
from benchmark.defenses.blocks import over_columns
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
    def mixture(self, received: Submissions) -> tuple[Tensor, Tensor]:
        """A ``(m, n)`` float64, for A · Δ is what the inner rule sees, and whose each row is."""

    def mixed(self, received: Submissions, mixture: Tensor) -> Tensor:
        """A · Δ, ``(m, P)``."""
        coefficients = mixture.to(received.rows)
        rows = received.rows.new_empty(len(mixture), received.rows.shape[1])

        def mix(place: slice) -> None:
            torch.mm(coefficients, received.rows[:, place], out=rows[:, place])

        over_columns(received.rows, mix, received.workers)
        return rows

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
        mixture, own = self.mixture(received)
        self._check(len(mixture), received.f)
        if type(self.inner) is Mean:
            # A mean of mixtures is one, and the rows are never made.
            return Aggregation(received.mean(mixture.mean(dim=0)))
        rows = self.mixed(received, mixture)
        uniform = received.weights.new_full((len(rows),), 1 / len(rows))
        clients = received.clients if len(rows) == len(received) else own.unique()
        context = replace(received.context, clients=clients)
        if isinstance(self.inner, Rule):
            inside = Submissions(rows, uniform, clients, received.f, context, received.workers)
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
