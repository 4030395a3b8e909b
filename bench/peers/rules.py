"""The rules of byzfl and flwr beside ours, in the peers' environment."""

import sys
from collections.abc import Callable
from copy import deepcopy
from types import ModuleType

import numpy as np
from flwr.server.strategy import aggregate as flower
from torch import Tensor

from bench.peers.served import Aggregate, serve

# Its suite wants torchvision and more, which none of its rules does.
sys.modules["byzfl.benchmark"] = ModuleType("byzfl.benchmark")
import byzfl  # noqa: E402

Rules = dict[str, Callable[[int, int], Aggregate]]
"""Name of ours → from K and f to theirs."""


def _averaged(before: Callable[[Tensor], Tensor], in_place: bool = False) -> Aggregate:
    """What writes into the updates that it is given gets a copy: the server still needs them."""
    return lambda updates: byzfl.Average()(before(deepcopy(updates) if in_place else updates))


def _exact(rule: Callable[[Tensor], object]) -> Aggregate:
    """byzfl makes tensors float32; arrays stay what they are."""
    return lambda u: rule(u.numpy()) if u.dtype.itemsize == 8 else rule(u)


BYZFL: Rules = {
    "mean": lambda n, f: _exact(byzfl.Average()),
    "median": lambda n, f: _exact(byzfl.Median()),
    "trimmed_mean": lambda n, f: _exact(byzfl.TrMean(f)),
    "mean_around_median": lambda n, f: _exact(byzfl.Meamed(f)),
    "geometric_median": lambda n, f: _exact(byzfl.GeometricMedian()),
    "krum": lambda n, f: _exact(byzfl.Krum(f)),
    "multi_krum": lambda n, f: _exact(byzfl.MultiKrum(f)),
    "centered_clipping": lambda n, f: _exact(
        lambda u: byzfl.CenteredClipping(L=1, tau=0.9)(u)  # a new one begins at 0
    ),
    "nnm": lambda n, f: _exact(_averaged(byzfl.NNM(f))),
    "bucketing": lambda n, f: _exact(_averaged(byzfl.Bucketing(2))),
    "arc": lambda n, f: _exact(_averaged(byzfl.ARC(f), in_place=True)),
    "norm_clip": lambda n, f: _exact(_averaged(byzfl.Clipping(c=0.9), in_place=True)),
    # To converge as ours does, and with the neighbors that the paper has.
    "geometric_median, converged": lambda n, f: _exact(byzfl.GeometricMedian(1e-6, 1000)),
    "krum, f + 1": lambda n, f: _exact(byzfl.Krum(f + 1)),
    "multi_krum, f + 1": lambda n, f: _exact(byzfl.MultiKrum(f + 1)),
}


def _flower(rule: Callable[..., list[np.ndarray]]) -> Aggregate:
    return lambda updates: rule([([row], 1) for row in updates.numpy()])[0]


FLWR: Rules = {
    "mean": lambda n, f: _flower(flower.aggregate),
    "median": lambda n, f: _flower(flower.aggregate_median),
    "trimmed_mean": lambda n, f: _flower(
        lambda results: flower.aggregate_trimmed_avg(results, (f + 0.5) / n)
    ),
    "krum": lambda n, f: _flower(lambda results: flower.aggregate_krum(results, f, 0)),
    "multi_krum": lambda n, f: _flower(lambda results: flower.aggregate_krum(results, f, n - f)),
    "bulyan": lambda n, f: _flower(
        lambda results: flower.aggregate_bulyan(results, f, flower.aggregate_krum, to_keep=0)
    ),
}

if __name__ == "__main__":
    rules = {"byzfl": BYZFL, "flwr": FLWR}[sys.argv[1]]
    serve(lambda name, updates: rules[name](len(updates), max(len(updates) // 5, 1)))
