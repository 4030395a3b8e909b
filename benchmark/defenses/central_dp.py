"""Differential privacy of clients: clip, sum, add noise that an accountant can account for."""

import logging
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.defenses.accounting import Answer, calibrated, epsilon
from benchmark.defenses.adaptive_clip import share
from benchmark.defenses.base import Aggregation, DefenseContext, DefenseSetting, Part
from benchmark.defenses.noise import standard_normal
from benchmark.defenses.rule import Weights
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, nobody, seen
from benchmark.utils.checks import positive
from benchmark.utils.randomness import generator

log = logging.getLogger("benchmark")


class CentralDP(Streamed):
    """Σ_k Δ_k min(1, C/e_k)/K + N(0, (z C/K)² I), K the cohort that is expected.

    A client that sent no finite update counts as 0. With ``adaptive``, C ← C · exp(−η_C (b̃ − γ))
    after the round as in :class:`AdaptiveClip`, but the count is noisy too,
    b̃ = (Σ(1[e_k ≤ C] − ½) + N(0, σ_b²))/K + ½, and the update gets the rest of the budget,
    z_Δ = (z⁻² − (2σ_b)⁻²)^(−½) in place of z. State: C. Cost: KP.

    What is private is one client's data: the neighbor of a federation has another
    client in its place, which moves the clipped sum by 2C, so z counts as a multiplier of z/2.
    ε (``epsilon`` in the metrics) is of all T rounds, for clients that are drawn at random without
    replacement and keep no running statistics, and *unknown* otherwise. It holds for honest clients
    whatever the compromised do, those on a fixed schedule (who take a place of a cohort that was
    drawn at random) included, but not for these: who takes part on a schedule gains nothing from
    sampling. It is that of the mechanism: noise here comes from the run's seed, and who knows that
    can take it away.

    >>> from benchmark.testing import aggregate
    >>> rows = [[3.0, 4.0], [0.0, 1.0]]
    >>> aggregate("central_dp", rows, norm_bound=1.0, noise_multiplier=1e-9).update
    tensor([0.3000, 0.9000])

    Args:
        norm_bound: C, or where it begins, in units of the update's norm; 0.01 to 10.
        noise_multiplier: z, in units of C; 0.01 to 3. 1 and more is private, if N is large.
        adaptive: whether C follows the γ-quantile of the lengths.
        quantile: γ; 0.1 to 0.95, 0.5 in its paper for privacy.
        rate: η_C; 0.01 to 1.
        count_noise: σ_b, in clients; null is K/20.
        epsilon: ε of all rounds, from which z is calculated in place of ``noise_multiplier``; null
            to say z itself. 1 to 10 are usual.
        delta: δ; null is N^(−1.1).
        weights: where clients' weights are not uniform: ``refuse`` or ``ignore`` them.

    Raises:
        ValueError: a number out of its range, an ``epsilon`` that cannot be had here, or z ≥ 2σ_b:
            nothing is left for the update; or as :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "McMahan et al. 2018, ICLR, arXiv 1710.06963; Andrew et al. 2021, arXiv 1905.03871"
    bound: Tensor

    def __init__(
        self,
        norm_bound: float = 0.5,
        noise_multiplier: float = 1.0,
        adaptive: bool = False,
        quantile: float = 0.5,
        rate: float = 0.2,
        count_noise: float | None = None,
        epsilon: float | None = None,
        delta: float | None = None,
        weights: Weights = "refuse",
    ):
        super().__init__(weights=weights)
        self.multiplier = positive("noise_multiplier", noise_multiplier)
        self.adaptive = adaptive
        self.quantile, self.rate = share("quantile", quantile), positive("rate", rate)
        self.count_noise = None if count_noise is None else positive("count_noise", count_noise)
        self.target = None if epsilon is None else positive("epsilon", epsilon)
        self.delta = None if delta is None else share("delta", delta)
        bound = torch.tensor(positive("norm_bound", norm_bound), dtype=torch.float64)
        self.register_buffer("bound", bound)

    def setup(self, setting: DefenseSetting) -> None:
        """Find the noise, split it, and account for it.

        Raises:
            ValueError: no noise gives the wanted ε; says why.
        """
        super().setup(setting)
        self.clients = setting.clients_per_round
        if self.target is not None:
            found, reason = self._asked(calibrated, self.target)
            if found is None:
                raise ValueError(f"epsilon = {self.target:g} cannot be had: {reason}")
            self.multiplier = 2 * found
        self.of_update, self.of_count = self.multiplier, 0.0
        if self.adaptive:
            self.of_count = self.count_noise or self.clients / 20
            self.of_update = split(self.multiplier, self.of_count)
        self.epsilon, reason = self.privacy()
        told = f"unknown: {reason}" if self.epsilon is None else f"{self.epsilon}"
        log.info("central_dp: z %.4g, ε %s", self.multiplier, told)

    def privacy(self) -> Answer:
        """ε of all rounds; None is unknown, and why."""
        return self._asked(epsilon, self.multiplier / 2)

    def _asked(self, ask: Callable[..., Answer], of: float) -> Answer:
        """In multiples of 2C, by which replacing one client moves the sum."""
        assert self.setting
        if self.setting.replacement:
            return None, "no accountant knows clients that are drawn with replacement"
        if self.setting.num_statistics:
            return None, "running statistics are averaged as they are, without noise"
        return ask(self.setting.num_users, self.clients, of, self.setting.rounds, self.delta)

    def look(self, received: Submissions) -> Part:
        """Clip at this round's bound, sum."""
        each = torch.full_like(received.weights, 1 / self.clients)
        clipped = received.mean(each, received.shrinkage(self.bound))
        within = (received.norms <= self.bound).double().sum()
        return tally(received, clipped=clipped, within=within)

    def nothing(self, updates: Tensor, context: DefenseContext) -> Aggregation:
        """Noise alone, as always: that nobody is there is nothing to be told either."""
        none = Aggregation(updates.new_zeros(0))
        sums = {"clipped": updates.new_zeros(updates.shape[1]), "within": updates.new_zeros(())}
        result = self.conclude(Part(none, updates.new_ones(()), 0, sums), context)
        told = {**result.info, **nobody(updates).info}
        return self.dropping(replace(result, info=told), updates.new_zeros(len(updates)), 0)

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Blur, then move the bound."""
        bound, K, n = self.bound, self.clients, found.size
        update, within = found.sums["clipped"], found.sums["within"].double()
        noise = standard_normal(update, context)
        update.add_(noise, alpha=self.of_update * float(bound) / K)
        if self.adaptive:
            source = generator(context.seed, context.round, "count noise")
            blur = self.of_count * torch.randn((), generator=source, dtype=torch.float64)
            noisy = (within - n / 2 + blur.to(bound)) / K + 0.5
            self.bound = bound * torch.exp(-self.rate * (noisy - self.quantile))
        clipped = 1 - within / max(n, 1)
        result = seen(update, clip_bound=bound, clipped_fraction=clipped)
        if self.epsilon is None:
            return result
        told = torch.tensor(self.epsilon, dtype=torch.float64)
        return replace(result, info={**result.info, "epsilon": told})


def split(multiplier: float, count_noise: float) -> float:
    """z_Δ = (z⁻² − (2σ_b)⁻²)^(−½): with the count's noise, z in all.

    >>> round(split(1.0, 1.5), 4)
    1.0607

    Raises:
        ValueError: z ≥ 2σ_b.
    """
    if multiplier >= 2 * count_noise:
        raise ValueError(
            f"noise_multiplier must be below 2 · count_noise = {2 * count_noise:g} where the bound "
            f"is adaptive, got {multiplier:g}"
        )
    return (multiplier**-2 - (2 * count_noise) ** -2) ** -0.5
