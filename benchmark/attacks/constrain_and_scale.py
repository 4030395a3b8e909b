"""Constrain-and-scale: backdoor training that pays for being an anomaly."""

from benchmark.attacks.base import CompromisedClient
from benchmark.attacks.penalties import Anchored, Anomaly
from benchmark.attacks.scaling import Scaling
from benchmark.attacks.train_and_scale import TrainAndScale
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of, positive_share


class ConstrainAndScale(TrainAndScale):
    """Minimizes α · CE + (1 − α) · L_ano on poisoned batches, then scales.

    L_ano is ``l2``, ‖w − w_t‖ (not squared, as in the paper's code), ``l2_squared``, or ``cosine``,
    1 − cos(w_t + β (w − w_t), w_t). With α = 1, which all published configurations have, nothing is
    constrained.

    Args:
        alpha: α, 0.3 to 1.
        anomaly: L_ano.
        scaling: as in train-and-scale.
        norm_bound: S, 0.05 to 50, for ``norm`` and ``at_most``.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch, above 0 to 1.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD, 0 to below 1.
        weight_decay: of its SGD, 0 or more.

    Raises:
        ValueError: a number out of its range, an unknown ``anomaly`` or ``scaling``.
    """

    paper = "Bagdasaryan et al. 2018, arXiv 1807.00459, section 4.2, and its published code"

    def __init__(
        self,
        alpha: float = 0.5,
        anomaly: Anomaly = "l2",
        scaling: Scaling = "boost",
        norm_bound: float = 3.0,
        epochs: int | None = None,
        poison_share: float = 0.3125,
        lr: float | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(scaling, norm_bound, epochs, poison_share, lr, momentum, weight_decay)
        self.alpha = positive_share("alpha", alpha)
        self.anomaly = one_of("anomaly", Anomaly, anomaly)

    def planting(self, client: CompromisedClient, backdoor: Examples, boost: float) -> Lane:
        """The lane on poison, whose steps on the penalty come before its optimizer's momentum."""
        lane = self.poisoned(client, client.poison(backdoor))
        penalty = Anchored(self.rates(client, lane), self.alpha, self.anomaly, boost)
        return self.trained(client, lane, penalties=[penalty])
