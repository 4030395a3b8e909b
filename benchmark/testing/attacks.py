"""What every attack keeps to."""

from typing import Any, ClassVar, get_args

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import Attack, Goal, Knowledge
from benchmark.config.instantiate import make
from benchmark.engine.plan import Lane
from benchmark.federation.contract import task_needed
from benchmark.testing.attack_toys import backdoor, bench, client, context, crafted, ready
from benchmark.testing.plugin import PluginContract
from benchmark.testing.toys import (
    federation,
    fit,
    seeded,
    untouched,
)


class AttackContract(PluginContract):
    """For every attack of :attr:`conf`."""

    group = "attack"
    rounds: ClassVar[dict[str, list[Tensor]]]

    def build(self, name: str) -> Any:
        """Set up, with the parameters that are its class's for tests."""
        return ready(make(self.group, self.resolved(name, **self.target(name).in_tests)))

    def three_rounds(self, name: str) -> list[Tensor]:
        """What is crafted in them, the first time that a test of this class asks."""
        known = vars(type(self)).get("rounds", {})
        if name not in known:
            torch.manual_seed(1)
            known[name] = crafted(self.build(name), range(3))
            type(self).rounds = known
        return known[name]

    def test_it_is_an_attack_with_stated_knowledge(self, plugin: Attack) -> None:
        assert isinstance(plugin, Attack)
        assert isinstance(plugin.knowledge, Knowledge)
        assert isinstance(plugin.active, bool)
        assert plugin.goal in get_args(Goal)
        assert plugin.cost

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
        tools = bench()
        theta = torch.randn(tools.client.num_parameters, generator=seeded(8)) / 5
        plugin.observe(0, theta)
        plugin.before_training(context(tools, theta))
        updates = tools.train(theta, plugin.lanes(client(), backdoor(), 10.0))
        assert updates.isfinite().all()
        assert (updates.norm(dim=1) > 0).all()

    @pytest.mark.parametrize("M", [1, 2, 3])
    def test_it_submits_one_finite_update_a_client_in_either_precision(
        self, name: str, M: int
    ) -> None:
        (single,) = crafted(self.build(name), range(1), M)
        (double,) = crafted(self.build(name), range(1), M, torch.float64)
        P = bench().client.num_parameters
        assert single.shape == double.shape == (M, P)
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        assert single.isfinite().all()
        assert (single.double() - double).norm() <= 1e-4 * double.norm()

    def test_it_is_deterministic(self, name: str) -> None:
        first = self.three_rounds(name)
        torch.manual_seed(2)
        second = crafted(self.build(name), range(3))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_its_state_is_in_its_buffers(self, name: str) -> None:
        *_, expected = self.three_rounds(name)
        halfway, resumed = self.build(name), self.build(name)
        crafted(halfway, range(2))
        resumed.load_state_dict(halfway.state_dict())
        (result,) = crafted(resumed, range(2, 3))
        assert torch.equal(result, expected)

    def test_it_runs_in_a_federation(self, name: str) -> None:
        attack = self.target(name)
        run = federation(
            {"attack": self.resolved(name, **attack.in_tests)},
            *([f"task={task}"] if (task := task_needed(attack)) else []),
            "participation=random_sampling",
            "participation.fraction=0.5",
        )
        start = run.theta.detach().clone()
        fit(run)
        assert run.theta.isfinite().all()
        assert not torch.equal(run.theta, start)
