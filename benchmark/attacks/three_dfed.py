"""3DFed: one backdoor under noise that cancels, with marks that tell what the server did."""

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext, AttackSetting, CompromisedClient
from benchmark.attacks.decoys import misleading
from benchmark.attacks.marks import curvature, least_curved, marked_layer
from benchmark.attacks.noise_masks import FIRST, optimized, output_places
from benchmark.attacks.penalties import Anchored
from benchmark.attacks.poisoning import Poisoning, relabelled
from benchmark.attacks.scaling import norms
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import at_least, below_one, not_negative, one_of, positive, share
from benchmark.utils.randomness import generator

MarkBy = Literal["activity", "curvature"]

_TOLERANCE, _CLIPPED = 1e-4, 0.8  # of a mark: what is less is rejected; of the most, is clipped
_NONE, _DECOY = -torch.inf, -2
_PLANTING = 2  # at least so many of the compromised plant
_MOSTLY = 0.8  # of a group: then its α is one to go on with


class ThreeDFed(Poisoning):
    """All M submit max(1, min(‖Δ^b‖/‖Δ^m‖, 5)) Δ^m, each with noise and a mark of its own.

    Δ^b and Δ^m are the honest and the backdoor update of the first of them; Δ^m is trained with
    loss (1 − c) CE + c ‖w − w_t‖. The M are drawn into groups, in each of which noise on some rows
    of the output layer, not the wanted classes', makes these rows large (α) or stays small, and
    cancels (:mod:`benchmark.attacks.noise_masks`). A group of one has no noise, one alone no mark.

    Marks: the M coordinates of the last kernel or matrix before the output with the least
    |Δ^b| + |Δ^m| are multiplied (10⁻³ where they are 0). In the next round the model's change
    there, over the mark, tells whether its client was rejected (at most 10⁻⁴), clipped (at most 0.8
    of the greatest) or accepted; a value above 1 or below −10⁻⁴ tells of noise, and then all α are
    the least for ever. Else α of groups of which 0.8 were accepted narrow down what is drawn:
    between the two least if all were, within 0.1 above the least if some were, else anew; the only
    group keeps its α while it is accepted. Marks 10⁵ times as large can alone be what a filter of
    lengths rejects.

    Decoys are honest updates with one weight pushed away (:mod:`benchmark.attacks.decoys`), marked
    like the others: one more after a round in which all backdoors and decoys were rejected, one
    fewer for each that was accepted, none once there was noise. The paper's are clients beside the
    M who plant; ours are the last of the M, of whom two at least plant.

    Args:
        constraint: c.
        most_scaled: 5 in the paper's code.
        group_size: 2 in the paper's code for digits, 5 for CIFAR-10.
        noisy_rows: of the output layer; 8 in the paper's code for digits, 5 for CIFAR-10.
        least_alpha: α is drawn from here to 1.
        mark: factor of the marks; 0 sets none.
        mark_by: ``activity``, or ``curvature`` as in the paper's code: of the 10 M least active
            those of least curvature of the loss, a second derivative.
        most_decoys: at once; 0 has none.
        epochs: passes over the local data; null takes the protocol's.
        poison_share: of every batch.
        lr: learning rate; null takes the protocol's.
        momentum: of its SGD.
        weight_decay: of its SGD.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Li et al. 2023, IEEE S&P, and its published code"
    cost = "1 + 15/E for E local epochs of an honest one"
    in_tests = MappingProxyType(
        # A mark of 1e5 makes float32's rounding as large.
        {"epochs": 2, "mark": 1e3, "mark_by": "curvature", "most_decoys": 1}
    )
    alphas: Tensor
    places: Tensor
    marks: Tensor
    groups: Tensor
    feedback: Tensor
    is_noisy: Tensor
    decoys: Tensor
    theta: Tensor

    def __init__(
        self,
        constraint: float = 0.4,
        most_scaled: float = 5.0,
        group_size: int = 2,
        noisy_rows: int = 8,
        least_alpha: float = 0.0,
        mark: float = 1e5,
        mark_by: MarkBy = "activity",
        most_decoys: int = 0,
        epochs: int | None = 15,
        poison_share: float = 0.5,
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay)
        self.constraint = below_one("constraint", constraint)
        self.most_scaled = positive("most_scaled", most_scaled)
        self.group_size = at_least("group_size", 1, group_size)
        self.noisy_rows = at_least("noisy_rows", 1, noisy_rows)
        self.least_alpha = share("least_alpha", least_alpha)
        self.mark = not_negative("mark", mark)
        self.mark_by = one_of("mark_by", MarkBy, mark_by)
        self.most_decoys = at_least("most_decoys", 0, most_decoys)

    def setup(self, setting: AttackSetting) -> None:
        """No mark is set; −1 is no place."""
        super().setup(setting)
        K = setting.clients_per_round
        self.register_buffer("theta", torch.zeros(setting.num_parameters))
        for name in ("places", "groups"):
            self.register_buffer(name, torch.full((K,), -1))
        for name in ("marks", "feedback", "alphas"):
            self.register_buffer(name, torch.full((K,), _NONE, dtype=torch.float64))
        self.register_buffer("is_noisy", torch.tensor(False))
        self.register_buffer("decoys", torch.tensor(0))

    def observe(self, round: int, theta: Tensor) -> None:
        """Read what the server made of the marks of the round before."""
        if (self.places >= 0).any():
            there = self.places.clamp(min=0).to(theta.device)
            change = (theta - self.theta.to(theta))[there].double().to(self.marks)
            self.feedback = torch.where(self.places >= 0, change / self.marks, _NONE)
            self.places = torch.full_like(self.places, -1)
        self.theta = theta.clone()

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """An honest lane, and one on poison that is held near the global model."""
        lane = self.poisoned(client, client.poison(backdoor))
        near = Anchored(self.rates(client, lane), 1 - self.constraint)
        return [client.honest_lane(), self.trained(client, lane, penalties=[near])]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Scale, hide, mislead, mark."""
        honest, malicious = updates[0, 0], updates[0, 1]
        lengths = norms(torch.stack([honest, malicious])).tolist()
        ratio = lengths[0] / lengths[1] if lengths[1] else 1.0
        malicious = malicious * max(1.0, min(ratio, self.most_scaled))
        M = len(updates)
        rows = malicious.repeat(M, 1)
        if M == 1:
            return rows
        self._count_decoys()
        planting = M - max(0, min(int(self.decoys), M - _PLANTING))
        order = torch.randperm(planting, generator=self._source(context, "groups"))
        groups = torch.full((M,), _DECOY)
        groups[order] = torch.arange(planting) // self.group_size
        self._tune(int(groups.max()) + 1, context)
        for number in range(int(groups.max()) + 1):
            self._hide(rows, (groups == number).nonzero().flatten(), number, context)
        if planting < M:
            rows[planting:] = misleading(self, honest, malicious, M - planting, context)
        if self.mark and not self.is_noisy:
            self._set_marks(rows, honest.abs() + malicious.abs(), groups, context)
        return rows

    def _hide(self, rows: Tensor, group: Tensor, number: int, context: AttackContext) -> None:
        """Noise on a group's rows, in place."""
        if len(group) < 2:
            return
        source = self._source(context, f"noise/{number}")
        places = output_places(context.layers)
        wanted = torch.zeros(0)
        if context.backdoor and context.workbench:
            wanted = relabelled(context.backdoor, context.workbench).labels.unique()
        free = torch.arange(len(places))[~torch.isin(torch.arange(len(places)), wanted)]
        chosen = free[torch.randperm(len(free), generator=source)[: self.noisy_rows]]
        where = places[chosen]
        noise = FIRST * torch.randn(len(group), *where.shape, generator=source)
        found = optimized(rows[0, where], noise, float(self.alphas[number]))
        rows[group[:, None, None], where] += found.to(rows)

    def _set_marks(
        self, rows: Tensor, activity: Tensor, groups: Tensor, context: AttackContext
    ) -> None:
        layer = marked_layer(context.layers)
        curved = torch.zeros_like(activity[layer.place])
        if self.mark_by == "curvature":
            curved = curvature(layer, self, context)
        least = least_curved(activity[layer.place], curved, len(rows)) + layer.place.start
        clients = torch.arange(len(least))
        values = rows[clients, least] * self.mark
        rows[clients, least] = torch.where(values == 0, torch.full_like(values, 1e-3), values)
        self.places, self.groups = torch.full_like(self.places, -1), self.groups.clone()
        self.places[clients] = least.to(self.places)
        self.groups[clients] = groups[clients].to(self.groups)
        self.marks = self.marks.clone()
        self.marks[clients] = rows[clients, least].to(self.marks)

    def _count_decoys(self) -> None:
        """One more or fewer, by what the server made of the marks."""
        told = self.feedback > _NONE
        seen, is_decoy = self.feedback[told], self.groups[told] == _DECOY
        if self._is_noise(seen) or not told.any():
            self.decoys = torch.zeros_like(self.decoys) if self._is_noise(seen) else self.decoys
            return
        passed = int((self._kept(seen) & is_decoy).sum())
        left = max(int(self.decoys) - passed, 0)
        none_passed = not passed and bool((seen[~is_decoy] <= _TOLERANCE).all())
        self.decoys = torch.full_like(self.decoys, min(left + int(none_passed), self.most_decoys))

    def _is_noise(self, seen: Tensor) -> bool:
        """Whether the server's noise shows, or has before."""
        return bool(self.is_noisy or (seen > 1).any() or (seen < -_TOLERANCE).any())

    @staticmethod
    def _kept(seen: Tensor) -> Tensor:
        """Which marks were accepted, and not clipped."""
        return (seen > _TOLERANCE) & (seen > _CLIPPED * seen.max())

    def _tune(self, count: int, context: AttackContext) -> None:
        """α of each of ``count`` groups, by what the server made of the marks."""
        source, told = self._source(context, "alpha"), self.feedback > _NONE
        drawn = torch.rand(count, generator=source, dtype=torch.float64).to(self.alphas)
        fresh, good = self.least_alpha + (1 - self.least_alpha) * drawn, list[float]()
        seen = self.feedback[told]
        if self._is_noise(seen):
            self.is_noisy = torch.ones_like(self.is_noisy)
            fresh = torch.full_like(drawn, self.least_alpha)
        elif told.any():
            is_kept = self._kept(seen)
            among = [n for n in self.groups[told].unique().tolist() if n != _DECOY]
            shares = [is_kept[self.groups[told] == n].double().mean() for n in among]
            mostly = [n for n, share in zip(among, shares, strict=True) if share >= _MOSTLY]
            good = sorted(float(self.alphas[n]) for n in mostly)
            if len(good) == 1 and len(among) == 1:
                fresh = torch.full_like(drawn, good[0])
            elif good:
                high = good[1] if len(good) == len(among) else good[0] + 0.1
                fresh = good[0] + (high - good[0]) * drawn
        self.alphas, self.feedback = self.alphas.clone(), torch.full_like(self.feedback, _NONE)
        self.alphas[:count] = fresh.clamp(0.01, 0.99)

    @staticmethod
    def _source(context: AttackContext, purpose: str) -> torch.Generator:
        return generator(context.seed, context.round, f"3DFed/{purpose}")
