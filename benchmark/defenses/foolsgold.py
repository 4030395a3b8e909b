"""FoolsGold: clients whose histories look alike weigh less."""

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.blocks import gram
from benchmark.defenses.rule import Rule, Weights
from benchmark.defenses.submissions import Submissions, cosines, nobody, seen
from benchmark.utils.checks import one_of, positive

Features = Literal["all", "output_layer"]
Divide = Literal["weights", "clients", "sum"]
LIMIT = 2**32


class FoolsGold(Rule):
    """Σ_k α_k Δ_k / Σ_k α_k, where α is small for clients whose summed updates are alike.

    h_c is the sum of a client's updates over its rounds, C_ij = cos(h_i, h_j) with 0 on the
    diagonal, v_i = max(0, max_j C_ij); where v_i < v_j, C_ij is scaled by v_i/v_j. Then
    α_i = 1 − max_j C_ij, within [0, 1] and divided by the greatest, is sharpened by
    κ(ln(α/(1 − α)) + ½) within [0, 1]; 1 counts as 0.99 there. All 0: nobody is left. One
    compromised client in a cohort cannot be seen. State: h, N·P numbers (or the output layer's
    alone), where the module is; beyond 2³² it is refused. Cost: K²P.

    >>> from benchmark.testing import aggregate
    >>> aggregate("foolsgold", [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).trust
    tensor([0., 0., 1.])

    Args:
        confidence: κ; 0.5 to 3, 1 in the paper.
        features: what is remembered: ``all``, or the ``output_layer`` alone.
        clip_history: the norm beyond which an update is shortened before it is remembered; 1 in
            some ports, null for never (the authors).
        divide: by the ``weights`` Σ α (the usual port), by the number of ``clients`` (the
            authors' deep learning code), or not at all: ``sum`` (the paper).
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: ``confidence`` is not positive, or an unknown choice; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Fung et al. 2020, RAID, arXiv 1808.04866"
    exempt = MappingProxyType(
        {"a_cohort_that_agrees_gets_its_update": "clients that are all alike are all rejected"}
    )
    histories: Tensor

    def __init__(
        self,
        confidence: float = 1.0,
        features: Features = "all",
        clip_history: float | None = None,
        divide: Divide = "weights",
        weights: Weights = "refuse",
    ):
        super().__init__(weights=weights)
        self.confidence = positive("confidence", confidence)
        self.features = one_of("features", Features, features)
        self.clip_history = None if clip_history is None else positive("clip_history", clip_history)
        self.divide = one_of("divide", Divide, divide)

    def setup(self, setting: DefenseSetting) -> None:
        """Room for a history of every user."""
        super().setup(setting)
        self.output = [layer.place for layer in setting.layers if layer.is_output]
        width = setting.num_parameters
        if self.features == "output_layer":
            width = sum(place.stop - place.start for place in self.output)
        if setting.num_users * width > LIMIT:
            raise ValueError(
                f"FoolsGold remembers an update of each user, at most {LIMIT} numbers in all; "
                f"{setting.num_users} users of {width} are too many; features=output_layer "
                "remembers less"
            )
        self.register_buffer("histories", torch.zeros(setting.num_users, width))

    def combine(self, received: Submissions) -> Aggregation:
        """Remember, compare, weigh."""
        rows = received.rows
        told = rows
        if self.clip_history is not None:
            told = received.scaled(received.shrinkage(torch.tensor(self.clip_history)))
        if self.features == "output_layer":
            told = torch.cat([told[:, place] for place in self.output], dim=1)
        self.histories = self.histories.to(told)
        # A client that was drawn twice is one client, and not alike to itself.
        self.histories.index_add_(0, received.clients, told)
        clients = received.clients
        alike = cosines(gram(self.histories[clients], workers=received.workers))
        alike[clients[:, None] == clients] = 0
        alpha = foolsgold_weights(alike, self.confidence).to(rows)
        total = alpha.sum()
        if total == 0:
            return nobody(rows)
        divisors: dict[str, float] = {"weights": float(total), "clients": len(rows), "sum": 1}
        return seen(received.mean(alpha / divisors[self.divide]), alpha)


def foolsgold_weights(similarity: Tensor, confidence: float) -> Tensor:
    """α ``(n,)`` from the cosines ``(n, n)`` of histories."""
    alike = similarity.clone().fill_diagonal_(0)
    most = alike.max(dim=1).values
    pardoned = most[:, None] < most[None, :]
    ratio = most[:, None] / most[None, :].clamp(min=torch.finfo(alike.dtype).tiny)
    alike = torch.where(pardoned, alike * ratio, alike).fill_diagonal_(0)
    alpha = (1 - alike.max(dim=1).values).clamp(0, 1)
    if alpha.max() == 0:
        return alpha
    alpha = alpha / alpha.max()
    alpha = torch.where(alpha == 1, 0.99, alpha)
    return (confidence * ((alpha / (1 - alpha)).log() + 0.5)).clamp(0, 1)
