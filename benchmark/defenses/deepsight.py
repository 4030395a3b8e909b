"""DeepSight: clusters of models that learned alike, out where too many learned few classes."""

from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import gram
from benchmark.defenses.clusters import hdbscan
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, cosines, median
from benchmark.engine.client import Layer
from benchmark.utils.checks import at_least, one_of
from benchmark.utils.randomness import generator

Suspicious = Literal["at_most", "below"]
Single = Literal["last", "all"]


class DeepSight(Rule):
    """The weighted mean of accepted clients, clipped to the median of all norms.

    Of the output layer's update (W: C × F, b: C), energy_i = |b_i| + Σ_j |W_ij| and
    NEUP = energy²/Σ energy². TE counts the classes with NEUP_i > max(threshold, 1/C) · max NEUP;
    who has TE ≤ med(TE)/2 trained on few classes and is suspicious. DDif_i, for each of three
    draws of images of uniform noise, is the mean over them of P_local(i)/P_global(i). HDBSCAN on
    the cosine distances of b, on NEUP and on each DDif says who is together (noise is alone);
    these 0/1 distances, the mean of those of the DDif as one of three, are averaged and clustered
    again, now a single cluster being allowed. A cluster is accepted if less than τ of it is
    suspicious; noise points are judged one by one.

    On arrays without a model the DDif are left out, and info says ``without_model``. Sizes of
    clusters are not in the paper. Where nothing clusters, as in small cohorts, all are equally far
    apart, which is a single cluster, and mostly accepted. Needs 5 clients and an output layer with
    biases. Cost: (K + 1) · seeds · images predictions, seconds a round for 10 clients of model
    ``small``; ``images`` 2000 cost a tenth.

    >>> from benchmark.testing import aggregate
    >>> few, many = [9.0, 0.0, 0.0, 9.0, 0.0, 0.0], [2.0, 3.0, 2.0, 3.0, 2.0, 2.0]
    >>> rows = [few, few, few, few, few, many, many, many, many, many, many]
    >>> aggregate("deepsight", rows, layers={"fc.weight": (3, 1), "fc.bias": (3,)}).trust
    tensor([0., 0., 0., 0., 0., 1., 1., 1., 1., 1., 1.])

    Args:
        images: of noise, in each draw.
        seeds: how many draws; 3 in the paper.
        threshold: a share of the largest NEUP, in [0, 1]; more than 1/C to have an effect.
        suspicious: TE ``at_most`` med(TE)/2 or ``below`` it, as others read the paper.
        tau: τ, in (0, 1]; 0.1 to 0.6.
        min_cluster_size: of HDBSCAN; 2 to K/2.
        min_samples: of HDBSCAN, as the package hdbscan counts; 2 to K/2.
        single: which clusterings may find that all are one cluster: the ``last``, as the paper is
            read here, or ``all`` (3DFed, BackFed); a clustering that may not calls all noise.

    Raises:
        ValueError: a number out of its range, an unknown choice, or a model with another output
            layer; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Rieger et al. 2022, NDSS, arXiv 2201.00763"
    is_weighted = True
    in_tests = MappingProxyType({"images": 200})

    def __init__(
        self,
        images: int = 20_000,
        seeds: int = 3,
        threshold: float = 0.01,
        suspicious: Suspicious = "at_most",
        tau: float = 1 / 3,
        min_cluster_size: int = 5,
        min_samples: int = 3,
        single: Single = "last",
    ):
        super().__init__()
        self.images, self.seeds = at_least("images", 1, images), at_least("seeds", 1, seeds)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be 0 to 1, got {threshold}")
        if not 0 < tau <= 1:
            raise ValueError(f"tau must be above 0 and at most 1, got {tau}")
        self.threshold, self.tau = threshold, tau
        self.suspicious = one_of("suspicious", Suspicious, suspicious)
        self.single = one_of("single", Single, single)
        self.sizes = (
            at_least("min_cluster_size", 2, min_cluster_size),
            at_least("min_samples", 1, min_samples),
        )

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """5."""
        return 5

    def setup(self, setting: DefenseSetting) -> None:
        """Find the output layer.

        Raises:
            ValueError: it has no weights (classes × features) with biases (classes).
        """
        super().setup(setting)
        output = [layer for layer in setting.layers if layer.is_output]
        if len(output) != 2 or output[0].shape[:1] != output[1].shape or len(output[0].shape) != 2:
            shapes = ", ".join(f"{layer.name} {layer.shape}" for layer in output)
            raise ValueError(
                "DeepSight needs an output layer of weights (classes, features) and biases "
                f"(classes,), it is {shapes}"
            )
        self.weight, self.bias = output

    def combine(self, received: Submissions) -> Aggregation:
        """Look at the output layers and at the models, cluster, judge, clip, average."""
        rows = received.rows
        energies = neup(rows, self.weight, self.bias)
        turned = 1 - cosines(gram(self.bias.of(rows)))
        together = [self._apart(turned.fill_diagonal_(0)), self._apart(euclidean(energies))]
        evaluated = received.context.workbench is not None
        if evaluated:
            draws = [self._apart(euclidean(d)) for d in self.division_differences(received)]
            together.append(np.mean(draws, axis=0))
        merged = torch.from_numpy(np.mean(together, axis=0))
        # Most of these tie, and HDBSCAN goes by their order: it shall not be the clients'.
        order = received.norms.cpu().argsort(stable=True)
        labels = np.empty(len(rows), dtype=np.int64)
        labels[order] = hdbscan(merged[order][:, order], *self.sizes)
        told = self.suspects(exceedings(energies, self.threshold)).cpu().numpy()
        bound = median(received.norms)
        return received.keeping(
            torch.from_numpy(accepted(labels, told, self.tau)).to(rows.device),
            received.shrinkage(bound),
            bound=bound,
            suspicious=float(told.sum()),
            clusters=labels.max() + 1,
            without_model=not evaluated,
        )

    def suspects(self, exceedings: Tensor) -> Tensor:
        """Who trained on few classes, ``(n,)`` bool, by TE ``(n,)``."""
        bound = median(exceedings.double()) / 2
        return exceedings <= bound if self.suspicious == "at_most" else exceedings < bound

    @torch.no_grad()
    def division_differences(self, received: Submissions) -> list[Tensor]:
        """DDif of each draw of images, ``(n, C)`` float64."""
        context, rows = received.context, received.rows
        bench = context.workbench
        assert bench
        theta, found = context.theta.to(rows), []
        for draw in range(self.seeds):
            source = generator(context.seed, context.round, f"deepsight images/{draw}", rows.device)
            shape = (self.images, *bench.data.input_shape)
            noise = torch.rand(shape, generator=source, device=rows.device).to(rows)
            of_global = bench.predictor(theta)(noise).double().log_softmax(dim=1)
            ratios = []
            for row in rows:
                of_local = bench.predictor(theta + row)(noise).double().log_softmax(dim=1)
                # Of logarithms: a probability of the global model may be 0 beside its others.
                ratios.append((of_local - of_global).exp().mean(dim=0))
            found.append(torch.stack(ratios))
        return found

    def _apart(self, distances: Tensor) -> NDArray[np.float64]:
        return apart(hdbscan(distances, *self.sizes, single=self.single == "all"))


def neup(rows: Tensor, weight: Layer, bias: Layer) -> Tensor:
    """Normalized energies of the classes, ``(n, C)`` float64; all 0 where nothing changed."""
    energy = bias.of(rows).double().abs() + weight.of(rows).double().abs().sum(dim=-1)
    most = energy.max(dim=1, keepdim=True).values
    squares = torch.where(most > 0, energy / most, 0).square()
    return squares / squares.sum(dim=1, keepdim=True).clamp(min=1)


def exceedings(energies: Tensor, threshold: float) -> Tensor:
    """TE: of NEUP ``(n, C)``, how many are above max(threshold, 1/C) of the largest, ``(n,)``."""
    share = max(threshold, 1 / energies.shape[1])
    return (energies > share * energies.max(dim=1, keepdim=True).values).sum(dim=1)


def euclidean(points: Tensor) -> Tensor:
    """Distances ``(n, n)`` of points ``(n, d)``; one that is not finite lies far from all."""
    finite = points.isfinite().all(dim=1)
    kept = torch.where(finite[:, None], points, 0)
    kept = kept / kept.abs().max().clamp(min=torch.finfo(kept.dtype).tiny)
    found = torch.cdist(kept, kept, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.where(finite[:, None] & finite[None, :], found, 1e6).fill_diagonal_(0)


def apart(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """0 for two of one cluster, else 1: ``(n, n)``; noise, −1, is alone.

    >>> apart(np.array([0, 0, -1, -1]))[2:]
    array([[1., 1., 0., 1.],
           [1., 1., 1., 0.]])
    """
    same = (labels[:, None] == labels[None, :]) & (labels >= 0)
    np.fill_diagonal(same, True)
    return (~same).astype(np.float64)


def accepted(
    labels: NDArray[np.int64], suspicious: NDArray[np.bool_], tau: float
) -> NDArray[np.bool_]:
    """Who is in a cluster of which less than ``tau`` is suspicious, or is not so itself."""
    kept = ~suspicious
    for label in range(labels.max() + 1):
        members = labels == label
        kept[members] = suspicious[members].mean() < tau
    return kept
