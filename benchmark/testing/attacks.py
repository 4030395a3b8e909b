"""What every attack keeps to."""

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient, Knowledge
from benchmark.engine.plan import Examples, Lane, Plan
from benchmark.testing.plugin import PluginContract
from benchmark.testing.toys import federation, fit, make_split, seeded, untouched

P = 40


def client(slot: int = 0, images: int = 9) -> CompromisedClient:
    """A place in a cohort, with local data of its own."""
    indices = torch.arange(10 * slot, 10 * slot + images)
    local = Examples(indices, indices % 10)
    return CompromisedClient(local, epochs=2, batch_size=4, seed=0, round=slot, slot=slot)


def backdoor(images: int = 7) -> Examples:
    """D_mal."""
    return Examples(torch.arange(50, 50 + images), torch.ones(images, dtype=torch.int64))


def crafted(
    attack: Attack, rounds: range, M: int = 2, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """What M clients submit in each of these rounds, with no more than the attack may know."""
    results = []
    L = len(attack.lanes(client(), backdoor(), 8 / M))
    for t in rounds:
        trained = torch.randn(M, L, P, generator=seeded(t)).to(dtype)
        honest = torch.randn(6, P, generator=seeded(t + 9)).to(dtype) / 10
        context = AttackContext(
            round=t,
            seed=0,
            start=torch.randn(P, generator=seeded(8)).to(dtype),
            boosts=torch.full((M,), 8 / M, dtype=torch.float64),
            honest_updates=honest if attack.knowledge >= Knowledge.UPDATES else None,
        )
        with untouched(trained, context.start, context.boosts, context.honest_updates):
            results.append(attack.craft(trained, context))
    return results


class AttackContract(PluginContract):
    """For every attack of :attr:`conf`."""

    group = "attack"

    def test_it_is_an_attack_with_stated_knowledge(self, plugin: Attack) -> None:
        assert isinstance(plugin, Attack)
        assert isinstance(plugin.knowledge, Knowledge)
        assert isinstance(plugin.active, bool)

    def test_a_client_always_has_as_many_lanes(self, plugin: Attack) -> None:
        counts = {
            len(plugin.lanes(client(slot, images), backdoor(mal), boost))
            for slot in (0, 2)
            for images in (1, 9)
            for mal in (1, 7)
            for boost in (0.5, 30.0)
        }
        assert len(counts) == 1
        assert counts.pop() >= 1

    def test_lanes_train_on_the_adversarys_data_only(self, plugin: Attack) -> None:
        local, malicious = client().local, backdoor()
        allowed = {*local.indices.tolist(), *malicious.indices.tolist()}
        for lane in plugin.lanes(client(), malicious, 30.0):
            assert isinstance(lane, Lane)
            assert lane.indices.shape == lane.labels.shape
            assert lane.indices.dtype == lane.labels.dtype == torch.int64
            assert len(lane.sizes) == len(lane.epoch_ends) == len(lane.indices)
            assert all(1 <= size <= lane.indices.shape[1] for size in lane.sizes)
            for row, size in zip(lane.indices.tolist(), lane.sizes, strict=True):
                assert set(row[:size]) <= allowed

    def test_lanes_are_the_same_when_planned_again_and_change_nothing(self, plugin: Attack) -> None:
        place, malicious = client(), backdoor()
        watched = (place.local.indices, place.local.labels, malicious.indices, malicious.labels)
        with untouched(*watched, *plugin.state_dict().values()):
            plans = [plugin.lanes(place, malicious, 3.0) for _ in range(2)]
        for one, other in zip(*plans, strict=True):
            assert torch.equal(one.indices, other.indices)
            assert torch.equal(one.labels, other.labels)
            assert one.dropout_seed == other.dropout_seed

    def test_its_lanes_can_be_trained(self, plugin: Attack) -> None:
        trainee = federation({})
        trainee.engine.setup(trainee.client, make_split([60], seeded()))
        lanes = plugin.lanes(client(), backdoor(), 10.0)
        updates = trainee.engine.train(trainee.theta.detach(), Plan(0, lanes)).updates
        assert updates.isfinite().all()
        assert (updates.norm(dim=1) > 0).all()

    @pytest.mark.parametrize("M", [1, 2, 3])
    def test_it_submits_one_finite_update_a_client_in_either_precision(
        self, name: str, M: int
    ) -> None:
        (single,) = crafted(self.build(name), range(1), M)
        (double,) = crafted(self.build(name), range(1), M, torch.float64)
        assert single.shape == double.shape == (M, P)
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        assert single.isfinite().all()
        assert (single.double() - double).norm() <= 1e-5 * double.norm()

    def test_it_is_deterministic(self, name: str) -> None:
        torch.manual_seed(1)
        first = crafted(self.build(name), range(3))
        torch.manual_seed(2)
        second = crafted(self.build(name), range(3))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_its_state_is_in_its_buffers(self, name: str) -> None:
        *_, expected = crafted(self.build(name), range(3))
        halfway, resumed = self.build(name), self.build(name)
        crafted(halfway, range(2))
        resumed.load_state_dict(halfway.state_dict())
        (result,) = crafted(resumed, range(2, 3))
        assert torch.equal(result, expected)

    @pytest.mark.parametrize("participation", ["fixed_frequency", "random_sampling"])
    def test_it_runs_in_a_federation(self, name: str, participation: str) -> None:
        overrides = [f"participation={participation}"]
        if participation == "random_sampling":
            overrides.append("participation.fraction=0.5")
        run = federation({"attack": self.resolved(name)}, *overrides)
        start = run.theta.detach().clone()
        fit(run)
        assert run.theta.isfinite().all()
        assert not torch.equal(run.theta, start)
