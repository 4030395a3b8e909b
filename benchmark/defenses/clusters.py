"""Clusters of clients, by scikit-learn: what is told to it, and in which order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.cluster import HDBSCAN, KMeans
from threadpoolctl import ThreadpoolController
from torch import Tensor

from benchmark.utils.randomness import derive, numpy_generator

Points = NDArray[np.float64]


def random_state(seed: int, round: int, purpose: str) -> int:
    """What scikit-learn draws from, 32 bits."""
    return derive(seed, round, purpose) % 2**32


@contextmanager
def frugal() -> Iterator[None]:
    """Let scikit-learn work on one thread, and take its parameters as they are.

    A cohort has so few points that its threads wait for each other, most of all on a busy machine,
    and sums over several of them may round differently.
    """
    with _threads().limit(limits=1), config_context(skip_parameter_validation=True):
        yield


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


@frugal()
def densest(distances: Tensor, min_cluster_size: int, min_samples: int) -> Tensor:
    """Who is in the largest cluster of HDBSCAN, ``(n,)`` bool; nobody where all are noise.

    Args:
        distances, min_cluster_size, min_samples: as :func:`hdbscan` takes them.
    """
    return largest(hdbscan(distances, min_cluster_size, min_samples)).to(distances.device)


def hdbscan(
    distances: Tensor, min_cluster_size: int, min_samples: int, single: bool = True
) -> NDArray[np.int64]:
    """Labels ``(n,)`` from 0 of HDBSCAN's clusters; −1 is noise.

    Args:
        distances: ``(n, n)``, of which the diagonal is 0.
        min_cluster_size, min_samples: as the package hdbscan counts them, without the point itself.
        single: whether all may be one cluster.
    """
    found = HDBSCAN(
        min_cluster_size=max(min_cluster_size, 2),
        min_samples=min(min_samples + 1, len(distances)),
        metric="precomputed",
        allow_single_cluster=single,
        copy=True,
    ).fit(distances.double().cpu().numpy())
    labels: NDArray[np.int64] = found.labels_
    return labels


def largest(labels: NDArray[np.int64]) -> Tensor:
    """Who is in the largest cluster, ``(n,)`` bool, of labels from 0; −1 is noise.

    Of those that tie, the one with the client of the lowest index.
    """
    inside = labels[labels >= 0]
    if len(inside) == 0:
        return torch.zeros(len(labels), dtype=torch.bool)
    return torch.from_numpy(labels == inside[np.bincount(inside)[inside].argmax()])


@frugal()
def kmeans(points: Points, count: int, state: int) -> tuple[NDArray[np.int64], Points]:
    """Labels ``(n,)`` and centers ``(count, d)`` of points ``(n, d)``, whatever their order.

    There are fewer centers where there are fewer points that differ.
    """
    order = np.lexsort(points.T[::-1])
    apart = min(count, len(np.unique(_told_apart(points), axis=0)))
    if apart == 1:
        # Nothing to search, in half of the clusterings that the gap statistic asks for.
        return np.zeros(len(points), dtype=np.int64), points.mean(axis=0, keepdims=True)
    found = KMeans(apart, random_state=state, n_init=10).fit(points[order])
    labels = np.empty(len(points), dtype=np.int64)
    labels[order] = found.labels_
    return labels, found.cluster_centers_


def num_clusters(
    points: Points,
    most: int,
    references: int,
    dispersion: Callable[[Points], float],
    where: tuple[int, int, str],
) -> int:
    """How many clusters the gap statistic sees in points ``(n, d)``, from 1 to ``most``.

    The points are scaled to [0, 1] in each coordinate and compared with uniform draws: the least k
    with gap(k) ≥ gap(k + 1) − s(k + 1), of Tibshirani et al. 2001.

    Args:
        points: ``(n, d)``.
        most: of clusters; never more than there are different points.
        references: how many draws are compared with.
        dispersion: of the distances ``(n,)`` of points to the centers of their clusters.
        where: seed, round and purpose of the draws.
    """
    points = _told_apart(points)
    span = np.ptp(points, axis=0)
    scaled = _told_apart((points - points.min(axis=0)) / np.where(span > 0, span, 1))
    most = min(most, len(np.unique(scaled, axis=0)))
    source, state = numpy_generator(*where), random_state(*where)
    draws = [source.random(points.shape) for _ in range(references)]

    def spread(data: Points, count: int) -> float:
        labels, centers = kmeans(data, count, state)
        apart = np.linalg.norm(data - centers[labels], axis=1)
        return float(np.log(max(dispersion(apart), 1e-300)))

    def gap(count: int) -> tuple[float, float]:
        drawn = np.array([spread(data, count) for data in draws])
        error = drawn.std() * np.sqrt(1 + 1 / references)
        return drawn.mean() - spread(scaled, count), error

    here = gap(1)
    for count in range(1, most):
        after = gap(count + 1)
        if here[0] >= after[0] - after[1]:
            return count
        here = after
    return most


def _told_apart(points: Points) -> Points:
    """What is nearer than the root of the precision is one point to whoever squares distances."""
    scale = np.abs(points).max()
    return (points / scale).round(7) * scale if scale > 0 else points
