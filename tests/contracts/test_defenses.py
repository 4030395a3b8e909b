"""Every defense in conf/defense/."""

import math

import pytest
import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense
from tests.contracts.plugin import PluginContract, build, discover
from tests.support.toys import defense_context, fit, make_federation, seeded

P = 400
NAMES = discover("defense")
K = max([10, *(build("defense", name).min_clients(2) for name in NAMES)])


def updates(round: int = 0, dtype: torch.dtype = torch.float32, scale: float = 0.05) -> Tensor:
    """A cohort that agrees roughly; norms around 1.4 · 20 · scale."""
    source = seeded(round)
    common = torch.randn(P, generator=source, dtype=torch.float64)
    own = torch.randn(K, P, generator=source, dtype=torch.float64)
    return (scale * (common + own)).to(dtype)


def weights() -> Tensor:
    raw = torch.arange(1, K + 1, dtype=torch.float64)
    return raw / raw.sum()


def aggregate(
    defense: Defense, rows: Tensor, shares: Tensor | None = None, round: int = 0
) -> Aggregation:
    shares = torch.full((len(rows),), 1 / len(rows)).double() if shares is None else shares
    return defense.aggregate(rows, shares, defense_context(P, len(rows), round))


def run(defense: Defense, rounds: int) -> list[Tensor]:
    return [aggregate(defense, updates(t), weights(), t).update for t in range(rounds)]


@pytest.mark.parametrize("name", NAMES)
class TestDefense(PluginContract):
    group = "defense"

    def test_it_is_a_defense_with_stated_facts(self, name: str):
        defense = build("defense", name)
        assert isinstance(defense, Defense)
        assert isinstance(defense.permutation_invariant, bool)
        assert isinstance(defense.needs_root_data, bool)
        needed = [defense.min_clients(f) for f in range(4)]
        assert needed[0] >= 1
        assert needed == sorted(needed)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_its_aggregation_is_well_formed(self, name: str, dtype: torch.dtype):
        result = aggregate(build("defense", name), updates(dtype=dtype), weights())
        assert result.update.shape == (P,)
        assert result.update.dtype == dtype
        assert result.update.isfinite().all()
        if result.trust is not None:
            assert result.trust.shape == (K,)
            assert ((result.trust >= 0) & (result.trust <= 1)).all()
        for value in result.info.values():
            assert value.numel() == 1
            assert math.isfinite(float(value))

    def test_a_smallest_cohort_is_enough(self, name: str):
        defense = build("defense", name)
        rows = updates()[: defense.min_clients(0)]
        assert aggregate(defense, rows).update.isfinite().all()

    def test_the_order_of_the_clients_is_irrelevant_where_it_says_so(self, name: str):
        if not build("defense", name).permutation_invariant:
            pytest.skip("does not claim it")
        rows, shares = updates(dtype=torch.float64), weights()
        order = torch.randperm(K, generator=seeded())
        result = aggregate(build("defense", name), rows, shares)
        context = defense_context(P, K)
        context = type(context)(**{**vars(context), "clients": context.clients[order]})
        other = build("defense", name).aggregate(rows[order], shares[order], context)
        assert (result.update - other.update).norm() <= 1e-10 * result.update.norm()
        if result.trust is not None:
            assert torch.equal(result.trust[order], other.trust)

    def test_no_update_becomes_none_up_to_noise(self, name: str):
        noise = aggregate(build("defense", name), torch.zeros(K, P)).update
        spread = noise.std()
        assert noise.mean().abs() <= 5 * spread / P**0.5
        assert spread <= 1

    def test_a_cohort_that_agrees_gets_its_update(self, name: str):
        row = 1e-3 * torch.randn(P, generator=seeded(), dtype=torch.float64)
        noise = aggregate(build("defense", name), torch.zeros(K, P).double()).update
        result = aggregate(build("defense", name), row.expand(K, P).clone()).update
        assert (result - noise - row).norm() <= 1e-6 * row.norm()

    def test_it_changes_nothing_that_it_is_given(self, name: str):
        rows, shares = updates(scale=1.0), weights()
        context = defense_context(P, K)
        kept = [t.clone() for t in (rows, shares, context.theta, context.clients)]
        build("defense", name).aggregate(rows, shares, context)
        for tensor, before in zip(
            (rows, shares, context.theta, context.clients), kept, strict=True
        ):
            assert torch.equal(tensor, before)

    def test_float32_and_float64_agree(self, name: str):
        rows = updates(scale=0.2)
        single = aggregate(build("defense", name), rows, weights())
        double = aggregate(build("defense", name), rows.double(), weights())
        assert (single.update - double.update).norm() <= 1e-5 * double.update.norm()
        if single.trust is not None:
            assert double.trust is not None
            assert single.trust.double() == pytest.approx(double.trust, abs=1e-5)

    def test_it_is_deterministic(self, name: str):
        torch.manual_seed(1)
        first = run(build("defense", name), 3)
        torch.manual_seed(2)
        second = run(build("defense", name), 3)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_its_state_is_in_its_buffers(self, name: str):
        *_, expected = run(build("defense", name), 3)
        halfway = build("defense", name)
        run(halfway, 2)
        resumed = build("defense", name)
        resumed.load_state_dict(halfway.state_dict())
        assert torch.equal(aggregate(resumed, updates(2), weights(), 2).update, expected)

    @pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("coordinates", [1, P])
    def test_poison_that_is_not_finite_is_left_out_or_shows(
        self, name: str, poison: float, coordinates: int
    ):
        """Never a finite aggregate that it has moved: the federation stops at one that is not."""
        rows = updates()
        rows[3, :coordinates] = poison
        result = aggregate(build("defense", name), rows)
        if not result.update.isfinite().all():
            return
        if result.trust is not None:
            assert result.trust[3] == 0
        others = rows[[k for k in range(K) if k != 3]]
        noise = aggregate(build("defense", name), torch.zeros(K, P)).update
        diameter = torch.cdist(others, others).max()
        assert (result.update - others.mean(dim=0)).norm() <= diameter + 2 * noise.norm()

    def test_a_huge_update_does_not_overflow(self, name: str):
        rows = updates()
        rows[3] = 1e30
        result = aggregate(build("defense", name), rows)
        assert result.update.isfinite().all()

    def test_the_model_after_the_round_is_finite_and_as_long(self, name: str):
        theta = torch.randn(P, generator=seeded())
        kept = theta.clone()
        after = build("defense", name).after_round(theta)
        assert after.shape == theta.shape
        assert after.isfinite().all()
        assert torch.equal(theta, kept)

    @pytest.mark.parametrize("attack", discover("attack"))
    def test_it_runs_in_a_federation_under_every_attack(self, name: str, attack: str):
        federation = make_federation(
            attack=build("attack", attack),
            defense=build("defense", name),
            clients_per_round=max(5, build("defense", name).min_clients(1)),
            replacement=True,
            rounds=2,
        )
        fit(federation)
        assert federation.theta.isfinite().all()
