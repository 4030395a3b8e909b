"""Snowball, bottom-up: every client votes for those that are clustered with it."""

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import gram
from benchmark.defenses.clusters import Points, frugal
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions
from benchmark.engine.client import Layer

MOST = 300
"""Clients: of more the clusterings take minutes a round."""


class Snowball(Rule):
    """The weighted mean of the ⌈s·K⌉ clients with the most votes; the paper's bottom-up part.

    For each tensor of the first convolution (or the first module, where there is none) and of the
    output layer, each client i clusters the differences Δ_i − Δ_j by k-means, whose ct + 1 centers
    start at i itself and at the ct clients farthest from it, and votes for its own cluster. Its
    vote weighs as much as its clustering's Calinski-Harabasz score, scaled to [0, 1] over the
    clients (1 where all are the same). The top-down part, which adds clients by a model that the
    server trains, is not there, so few are kept. Needs ct + 2 clients, and 3. Cost: K²p of these
    layers' p parameters, then 4K runs of k-means on K points of at most K coordinates: seconds for
    100 clients; beyond 300 it is refused.

    >>> from benchmark.testing import aggregate
    >>> rows = [[1.0], [1.1], [0.9], [1.05], [-9.0], [30.0]]
    >>> aggregate("snowball", rows, ct=2).trust[4:]
    tensor([0., 0.])

    Args:
        ct: how many centers each client adds to itself; 0 for ⌈K/5⌉, which are the paper's 10 of
            50. K/10 to K/3.
        share: s, in (0, 1]; 0.1 in the paper.

    Raises:
        ValueError: a number out of its range, or fewer than ct + 2 clients or too many; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Qin et al. 2024, AAAI, arXiv 2309.16456"
    is_weighted = True

    def __init__(self, ct: int = 0, share: float = 0.1):
        super().__init__()
        if ct < 0:
            raise ValueError(f"ct must be 0 (a fifth of the clients) or more, got {ct}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.ct, self.share = ct, share

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """3."""
        return 3

    def setup(self, setting: DefenseSetting) -> None:
        """Find the layers, and refuse cohorts below ct + 2."""
        super().setup(setting)
        self._check_cohort(setting.clients_per_round)
        self.layers = [layer.place for layer in ends(setting.layers)]

    def combine(self, received: Submissions) -> Aggregation:
        """Let all vote, average the elected."""
        n = len(received)
        self._check_cohort(n)
        ct = self.ct or math.ceil(n / 5)
        tallies = [
            votes(coordinates(received.rows[:, place], received.workers), ct)
            for place in self.layers
        ]
        total = torch.from_numpy(np.sum(tallies, axis=0))
        elected = total.argsort(descending=True, stable=True)[: math.ceil(self.share * n - 1e-9)]
        kept = torch.zeros(n, dtype=torch.bool)
        kept[elected] = True
        return received.keeping(kept.to(received.rows.device))

    def _check_cohort(self, n: int) -> None:
        if n > MOST:
            raise ValueError(f"Snowball clusters once for each client, at most {MOST}; got {n}")
        if n < self.ct + 2:
            raise ValueError(
                f"Snowball needs {self.ct + 2} clients or more for ct = {self.ct}, got {n}"
            )


def ends(layers: tuple[Layer, ...]) -> list[Layer]:
    """The tensors of the first convolution, or first module, and of the output layer."""
    first = next((layer for layer in layers if layer.is_convolution), layers[0])
    owner = first.name.rpartition(".")[0]
    return [
        layer
        for layer in layers
        if layer.is_output or layer is first or (owner and layer.name.startswith(f"{owner}."))
    ]


def coordinates(rows: Tensor, workers: int = 1) -> Points:
    """Points ``(n, n)`` that lie apart as the rows of ``(n, p)`` do."""
    values, vectors = torch.linalg.eigh(gram(rows, rows.double().mean(dim=0), workers))
    values = torch.where(values > 1e-12 * values[-1], values, 0)
    found: Points = (vectors * values.sqrt()).cpu().numpy()
    return found


@frugal()
def votes(points: Points, ct: int) -> Points:
    """What each of the points ``(n, d)`` gets from all, ``(n,)``."""
    n = len(points)
    # Differences from i are the points themselves, moved and mirrored: clusters are the same.
    together, scores = np.zeros((n, n), dtype=bool), np.zeros(n)
    for i in range(n):
        apart = np.linalg.norm(points - points[i], axis=1)
        apart[i] = -1
        starts = np.concatenate([[i], np.argsort(-apart, kind="stable")[:ct]])
        with warnings.catch_warnings():
            # Clients that sent the same start the same cluster.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = KMeans(len(starts), init=points[starts], n_init=1).fit(points).labels_
        together[i] = labels == labels[i]
        if 2 <= len(set(labels)) < n:
            scores[i] = calinski_harabasz(points, labels)
    span = np.ptp(scores)
    weights = (scores - scores.min()) / span if span > 0 else np.ones(n)
    tally: Points = weights @ together
    return tally


def calinski_harabasz(points: Points, labels: NDArray[np.int32]) -> float:
    """Of k clusters of n points: (between/(k − 1)) / (within/(n − k)), sums of squares, or 1.

    scikit-learn's to the bit, without the checks that take it most of its time.

    >>> calinski_harabasz(np.array([[0.0], [2.0], [8.0], [10.0]]), np.array([0, 0, 1, 1]))
    32.0
    """
    middle, between, within = points.mean(axis=0), 0.0, 0.0
    names = np.unique(labels)
    for name in names:
        members = points[labels == name]
        center = members.mean(axis=0)
        between += len(members) * np.sum((center - middle) ** 2)
        within += np.sum((members - center) ** 2)
    if within == 0:
        return 1.0
    return float(between * (len(points) - len(names)) / (within * (len(names) - 1)))
