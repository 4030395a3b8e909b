"""What every defense keeps to."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.config.instantiate import make
from benchmark.defenses.base import Aggregation, Defense, DefenseSetting
from benchmark.testing.plugin import PluginContract
from benchmark.testing.toys import federation, fit, model_context, seeded, untouched

P = 410


def cohort(defense: Defense, round: int = 0, scale: float = 0.05) -> Tensor:
    """Float64 updates ``(K, P)`` that agree roughly, and enough; norms about 1.4 · 20 · scale."""
    source, K = seeded(round), enough(defense)
    common, own = (torch.randn(n, P, generator=source, dtype=torch.float64) for n in (1, K))
    return scale * (common + own)


def enough(defense: Defense) -> int:
    """Clients, with one or two to spare for what is assumed."""
    return max(10, defense.min_clients(max(2, defense.assumed_compromised)))


def shares(defense: Defense, K: int) -> Tensor:
    """Weights of clients with more and more data, where the defense honors them."""
    raw = torch.arange(1, K + 1, dtype=torch.float64)
    return raw / raw.sum() if defense.is_weighted else torch.full_like(raw, 1 / K)


def mean_of(defense: Defense, updates: Tensor) -> Aggregation:
    """One round with equal weights."""
    K = len(updates)
    equal = torch.full((K,), 1 / K, dtype=torch.float64)
    return defense.aggregate(updates, equal, model_context(K, dtype=updates.dtype))


def run(defense: Defense, rounds: range) -> list[Tensor]:
    """The aggregated update of each of these rounds."""
    results = []
    for t in rounds:
        updates = cohort(defense, t).float()
        K = len(updates)
        results.append(defense.aggregate(updates, shares(defense, K), model_context(K, t)).update)
    return results


class DefenseContract(PluginContract):
    """For every defense of :attr:`conf`."""

    group = "defense"

    @pytest.fixture(autouse=True)
    def declared(self, request: pytest.FixtureRequest) -> None:
        """What a defense says that it does not keep to, and why."""
        if "name" in request.fixturenames:
            exempt = self.target(request.getfixturevalue("name")).exempt
            test = request.function.__name__.removeprefix("test_")
            if test in exempt:
                pytest.skip(exempt[test])

    def build(self, name: str) -> Any:
        """Set up for a cohort of users who are all there."""
        defense = make(self.group, self.quick(name))
        K = enough(defense)
        layers = model_context(K).layers
        defense.setup(DefenseSetting(K, K, P, 3, layers, has_root_data=True))
        return defense

    def quick(self, name: str) -> dict[str, Any]:
        return self.resolved(name, **self.target(name).in_tests)

    def noise(self, name: str) -> Tensor:
        """What the defense adds in the first round, whatever the updates are."""
        defense = self.build(name)
        return mean_of(defense, torch.zeros_like(cohort(defense))).update

    def test_it_is_a_defense_with_stated_facts(self, plugin: Defense) -> None:
        assert isinstance(plugin, Defense)
        assert isinstance(plugin.permutation_invariant, bool)
        assert isinstance(plugin.needs_root_data, bool)
        needed = [plugin.min_clients(f) for f in range(4)]
        assert needed[0] >= 1
        assert needed == sorted(needed)

    def test_its_aggregation_is_well_formed_in_either_precision(self, name: str) -> None:
        results = []
        for dtype in (torch.float32, torch.float64):
            defense = self.build(name)
            updates = cohort(defense, scale=0.2).float().to(dtype)
            K = len(updates)
            context, weights = model_context(K, dtype=dtype), shares(defense, K)
            with untouched(updates, weights, context.theta, context.clients):
                result = defense.aggregate(updates, weights, context)
            assert result.update.shape == (P,)
            assert result.update.dtype == dtype
            assert result.update.isfinite().all()
            if result.trust is not None:
                assert result.trust.shape == (K,)
                assert ((result.trust >= 0) & (result.trust <= 1)).all()
            assert all(math.isfinite(value.item()) for value in result.info.values())
            results.append(result)
        single, double = results
        assert (single.update - double.update).norm() <= 1e-5 * double.update.norm()
        if single.trust is not None:
            assert single.trust.double() == pytest.approx(double.trust, abs=1e-5)

    def test_a_smallest_cohort_is_enough(self, plugin: Defense) -> None:
        updates = cohort(plugin)[: plugin.min_clients(plugin.assumed_compromised)]
        assert mean_of(plugin, updates).update.isfinite().all()

    def test_the_order_of_the_clients_is_irrelevant_where_it_says_so(self, name: str) -> None:
        one, other = self.build(name), self.build(name)
        if not one.permutation_invariant:
            pytest.skip("does not claim it")
        updates = cohort(one)
        K = len(updates)
        context, weights = model_context(K, dtype=updates.dtype), shares(one, K)
        order = torch.randperm(K, generator=seeded())
        first = one.aggregate(updates, weights, context)
        context = replace(context, clients=context.clients[order])
        second = other.aggregate(updates[order], weights[order], context)
        assert (first.update - second.update).norm() <= 1e-10 * first.update.norm()
        if first.trust is not None:
            assert torch.equal(first.trust[order], second.trust)

    def test_no_update_becomes_none_up_to_noise(self, name: str) -> None:
        noise = self.noise(name)
        assert noise.mean().abs() <= 5 * noise.std() / P**0.5
        assert noise.std() <= 1

    def test_a_cohort_that_agrees_gets_its_update(self, name: str, plugin: Defense) -> None:
        row = 1e-3 * torch.randn(P, generator=seeded(), dtype=torch.float64)
        update = mean_of(plugin, row.expand_as(cohort(plugin)).clone()).update
        assert (update - self.noise(name) - row).norm() <= 1e-6 * row.norm()

    def test_it_is_deterministic(self, name: str) -> None:
        torch.manual_seed(1)
        first = run(self.build(name), range(3))
        torch.manual_seed(2)
        second = run(self.build(name), range(3))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_its_state_is_in_its_buffers(self, name: str) -> None:
        *_, expected = run(self.build(name), range(3))
        halfway, resumed = self.build(name), self.build(name)
        run(halfway, range(2))
        resumed.load_state_dict(halfway.state_dict())
        assert torch.equal(run(resumed, range(2, 3))[0], expected)

    def test_parts_of_a_cohort_make_the_same_of_it_where_it_streams(self, name: str) -> None:
        whole, parted = self.build(name), self.build(name)
        if not whole.streams:
            pytest.skip("it needs all updates at once")
        for t in range(3):
            updates = cohort(whole, t)
            K = len(updates)
            if t:
                updates[4:6] = math.nan
            context, weights = model_context(K, t, dtype=updates.dtype), shares(whole, K)
            expected = whole.aggregate(updates, weights, context)
            # The compromised come first; one part has nobody who is finite.
            order = [[2, 7], [0, 1, 3], [4, 5], [6, *range(8, K)]]
            alone = copy.deepcopy(parted)
            there = replace(context, workbench=None)
            parts = [
                alone.part(updates[k], weights[k], replace(there, clients=context.clients[k]))
                for k in order
            ]
            found = parted.joined(parts, context)
            assert expected.update.numpy() == pytest.approx(
                found.update.numpy(), rel=1e-10, abs=1e-10, nan_ok=True
            )
            assert (found.trust is None) == (expected.trust is None)
            if found.trust is not None and expected.trust is not None:
                trust = found.trust[torch.tensor([k for part in order for k in part]).argsort()]
                assert trust.numpy() == pytest.approx(expected.trust.numpy(), abs=1e-10)
            told = {name: value.item() for name, value in expected.info.items()}
            assert {n: v.item() for n, v in found.info.items()} == pytest.approx(told, nan_ok=True)
        for name, value in whole.state_dict().items():
            assert torch.allclose(parted.state_dict()[name], value, rtol=1e-10, atol=1e-10), name

    @pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("coordinates", [1, P])
    def test_poison_that_is_not_finite_is_left_out_or_shows(
        self, name: str, plugin: Defense, poison: float, coordinates: int
    ) -> None:
        """Never a finite aggregate that it has moved: the federation stops at one that is not."""
        updates = cohort(plugin).float()
        updates[3, :coordinates] = poison
        result = mean_of(plugin, updates)
        if not result.update.isfinite().all():
            return
        if result.trust is not None:
            assert result.trust[3] == 0
        others = torch.cat([updates[:3], updates[4:]])
        moved = (result.update - others.mean(dim=0)).norm()
        assert moved <= torch.cdist(others, others).max() + 2 * self.noise(name).norm()

    def test_a_huge_update_does_not_overflow(self, plugin: Defense) -> None:
        updates = cohort(plugin).float()
        updates[3] = 1e30
        assert mean_of(plugin, updates).update.isfinite().all()

    def test_updates_of_another_scale_leave_it_finite(self, plugin: Defense) -> None:
        updates = cohort(plugin).float()
        updates[3:6] *= torch.tensor([[0.0], [1e-30], [1e6]])
        assert mean_of(plugin, updates).update.isfinite().all()

    def test_the_model_after_the_round_is_finite_and_as_long(self, plugin: Defense) -> None:
        theta = torch.randn(P, generator=seeded())
        with untouched(theta):
            after = plugin.after_round(theta, model_context(enough(plugin)))
        assert after.shape == theta.shape
        assert after.isfinite().all()

    def test_it_runs_in_a_federation_under_attack(self, name: str, plugin: Defense) -> None:
        K = max(5, plugin.min_clients(plugin.assumed_compromised))
        several = ["federation.replacement=true", f"federation.clients_per_round={K}"]
        if plugin.needs_root_data:
            several.append("federation.root_images=20")
        run = federation({"defense": self.quick(name)}, "attack=boosted", *several)
        fit(run)
        assert run.theta.isfinite().all()
