"""Clipping, rejection, noise and averages, by hand and by their statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmark.defenses.base import Defense
from benchmark.defenses.composed import Composed, Received
from benchmark.defenses.mean import Mean
from benchmark.defenses.norm_clip import Clip, NormClip
from benchmark.defenses.norm_reject import NormReject, Reject
from benchmark.defenses.weak_dp import GaussianNoise, WeakDP
from benchmark.testing.toys import defense_context, seeded

# norms 5, 1, 0, 10
UPDATES = torch.tensor([[3.0, 4.0], [0.6, -0.8], [0.0, 0.0], [-6.0, 8.0]], dtype=torch.float64)
UNIFORM = torch.full((4,), 0.25, dtype=torch.float64)
WEIGHTED = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def aggregated(
    defense: Defense, updates: Tensor, weights: Tensor | None = None, round: int = 0, seed: int = 0
) -> Tensor:
    K, P = updates.shape
    weights = torch.full((K,), 1 / K, dtype=torch.float64) if weights is None else weights
    return defense.aggregate(updates, weights, defense_context(P, K, round, seed)).update


def test_the_mean_is_uniform_or_weighted():
    assert aggregated(Mean(), UPDATES, UNIFORM).tolist() == pytest.approx([-0.6, 2.8])
    # 0.4·3 + 0.3·0.6 − 0.1·6, 0.4·4 − 0.3·0.8 + 0.1·8
    assert aggregated(Mean(), UPDATES, WEIGHTED).tolist() == pytest.approx([0.78, 2.16])


def test_clipping_shortens_long_updates_and_leaves_the_others():
    # norm 2: (1.2, 1.6), (0.6, −0.8), 0, (−1.2, 1.6)
    result = NormClip(2.0).aggregate(UPDATES, UNIFORM, defense_context(2, 4))
    assert result.update.tolist() == pytest.approx([0.15, 0.6])
    assert result.info["clipped_fraction"].item() == 0.5
    assert result.trust is None
    assert aggregated(NormClip(2.0), UPDATES, WEIGHTED).tolist() == pytest.approx(
        [0.4 * 1.2 + 0.3 * 0.6 - 0.1 * 1.2, 0.4 * 1.6 - 0.3 * 0.8 + 0.1 * 1.6]
    )


def test_an_update_at_the_bound_is_neither_clipped_nor_rejected():
    at = UPDATES[:1]
    clipped = NormClip(5.0).aggregate(at, torch.ones(1), defense_context(2, 1))
    assert torch.equal(clipped.update, at[0])
    assert clipped.info["clipped_fraction"] == 0
    kept = NormReject(5.0).aggregate(at, torch.ones(1), defense_context(2, 1))
    assert torch.equal(kept.update, at[0])
    beyond = NormReject(5.0 - 1e-12).aggregate(at, torch.ones(1), defense_context(2, 1))
    assert beyond.update.tolist() == [0, 0]


@given(bound=st.floats(1e-3, 1e3), scale=st.floats(1e-4, 1e6), seed=st.integers(0, 99))
def test_clipped_updates_keep_direction_and_are_no_longer_than_the_bound(
    bound: float, scale: float, seed: int
):
    updates = scale * torch.randn(3, 50, generator=seeded(seed))
    received = Clip(bound)(Received(updates, torch.ones(3) / 3), defense_context(50, 3))
    clipped = received.scaled().updates
    assert (clipped.double().norm(dim=1) <= bound * (1 + 1e-6)).all()
    cosine = torch.nn.functional.cosine_similarity(clipped.double(), updates.double())
    assert cosine == pytest.approx(torch.ones(3), rel=1e-6)
    short = updates.double().norm(dim=1) <= bound
    assert torch.equal(clipped[short], updates[short])


def test_a_step_sees_updates_that_are_clipped_already():
    both = Composed(before=[Clip(2.0), Reject(2.5)])
    result = both.aggregate(UPDATES, UNIFORM, defense_context(2, 4))
    assert result.trust is not None
    assert result.trust.tolist() == [1, 1, 1, 1]
    assert torch.equal(result.update, aggregated(NormClip(2.0), UPDATES, UNIFORM))


def test_rejection_leaves_long_updates_out_and_scales_the_other_weights():
    result = NormReject(2.0).aggregate(UPDATES, UNIFORM, defense_context(2, 4))
    assert result.update.tolist() == pytest.approx([0.3, -0.4])
    assert result.trust is not None
    assert result.trust.tolist() == [0, 1, 1, 0]
    assert result.info["rejected_fraction"].item() == 0.5
    # weights 0.3 and 0.2 become 0.6 and 0.4
    assert aggregated(NormReject(2.0), UPDATES, WEIGHTED).tolist() == pytest.approx([0.36, -0.48])


def test_the_model_stays_where_all_are_rejected():
    result = NormReject(0.5).aggregate(UPDATES[[0, 1, 3]], UNIFORM[:3], defense_context(2, 3))
    assert result.update.tolist() == [0, 0]
    assert result.trust is not None
    assert result.trust.tolist() == [0, 0, 0]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_rejection_rejects_what_is_not_finite(poison: float):
    updates = UPDATES.clone()
    updates[2, 0] = poison
    result = NormReject(6.0).aggregate(updates, UNIFORM, defense_context(2, 4))
    assert result.update.tolist() == pytest.approx([1.8, 1.6])
    assert result.trust is not None
    assert result.trust.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("defense", [NormClip(6.0), WeakDP(6.0, 0.0)])
def test_clipping_leaves_out_what_is_not_finite(defense: Defense, poison: float):
    updates = UPDATES.clone()
    updates[2, 0] = poison
    result = defense.aggregate(updates, UNIFORM, defense_context(2, 4))
    others = defense.aggregate(UPDATES[[0, 1, 3]], torch.full((3,), 1 / 3), defense_context(2, 3))
    assert others.trust is None
    assert torch.allclose(result.update, others.update)
    assert result.trust is not None
    assert result.trust.tolist() == [1, 1, 0, 1]
    nobody = defense.aggregate(updates[[2, 2]], torch.full((2,), 0.5), defense_context(2, 2))
    assert (nobody.update.tolist(), nobody.trust.tolist()) == ([0, 0], [0, 0])
    assert (nobody.info["all_rejected"], "all_rejected" in result.info) == (1, False)


@pytest.mark.parametrize("defense", [NormClip(1.0), NormReject(3e38), Mean()])
def test_finite_updates_of_any_length_have_a_finite_aggregate(defense: Defense):
    updates = torch.full((2, 100), 1e37)
    assert aggregated(defense, updates).isfinite().all()
    updates = torch.full((2, 100), 1e-42)
    assert aggregated(defense, updates).isfinite().all()


def noise(noise_on: str, K: int, round: int = 0, seed: int = 0, std: float = 0.5) -> Tensor:
    defense = WeakDP(norm_bound=1.0, noise_std=std, noise_on=noise_on)
    return aggregated(defense, torch.zeros(K, 40_000), round=round, seed=seed)


@pytest.mark.parametrize(("noise_on", "std"), [("average", 0.5), ("sum", 0.05)])
def test_noise_is_gaussian_with_the_stated_deviation(noise_on: str, std: float):
    drawn = noise(noise_on, K=10) / std
    n = len(drawn)
    # four standard errors of mean, deviation, skewness and kurtosis
    assert abs(drawn.mean()) < 4 / n**0.5
    assert abs(drawn.std() - 1) < 4 / (2 * n) ** 0.5
    assert abs((drawn**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((drawn**4).mean() - 3) < 4 * (96 / n) ** 0.5


def test_noise_on_the_sum_is_that_on_the_average_divided_by_the_clients():
    assert noise("sum", K=8) * 8 == pytest.approx(noise("average", K=8), rel=1e-5)
    assert torch.equal(noise("average", K=8), noise("average", K=3))


def test_noise_is_drawn_anew_in_every_round_and_run_and_the_same_when_repeated():
    draws = [noise("average", 4, round=r, seed=s) for r in range(3) for s in range(3)]
    correlation = torch.corrcoef(torch.stack(draws)).fill_diagonal_(0)
    assert correlation.abs().max() < 4 / 40_000**0.5
    assert torch.equal(noise("average", 4), draws[0])


def test_weak_dp_clips_averages_and_adds():
    silent = aggregated(WeakDP(2.0, 0.0), UPDATES, WEIGHTED)
    assert torch.equal(silent, aggregated(NormClip(2.0), UPDATES, WEIGHTED))
    noisy = aggregated(WeakDP(2.0, 0.1), UPDATES, WEIGHTED)
    alone = aggregated(WeakDP(2.0, 0.1), torch.zeros_like(UPDATES), WEIGHTED)
    assert noisy == pytest.approx(silent + alone)


def test_defenses_compose():
    both = Composed(before=[Reject(6.0), Clip(2.0)], after=[GaussianNoise(0.0, "sum")])
    result = both.aggregate(UPDATES, UNIFORM, defense_context(2, 4))
    assert result.update.tolist() == pytest.approx([0.6, 0.8 / 3])
    assert result.trust is not None
    assert result.trust.tolist() == [1, 1, 1, 0]
    assert set(result.info) == {"rejected_fraction", "clipped_fraction"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NormClip(0.0), "norm_bound must be positive"),
        (lambda: NormReject(-1.0), "norm_bound must be positive"),
        (lambda: NormClip(math.nan), "norm_bound must be positive"),
        (lambda: WeakDP(noise_std=-0.1), "noise_std must be at least 0"),
        (lambda: WeakDP(noise_std=math.inf), "noise_std must be at least 0 and finite"),
        (lambda: WeakDP(noise_on="both"), "noise_on must be one of average, sum; got both"),
    ],
)
def test_bad_values_are_refused(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()
