"""What every attack keeps to."""

from dataclasses import replace
from itertools import chain
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    AttackSetting,
    CompromisedClient,
    Goal,
    Knowledge,
)
from benchmark.config.instantiate import make
from benchmark.defenses.norm_clip import NormClip
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, Lane, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.adversary import simulator
from benchmark.testing.plugin import PluginContract
from benchmark.testing.toys import (
    defense_context,
    federation,
    fit,
    make_split,
    seeded,
    toy_network,
    untouched,
)

K = 8


def client(slot: int = 0, images: int = 9, M: int = 1) -> CompromisedClient:
    """A place in a cohort, with local data of its own."""
    indices = torch.arange(10 * slot, 10 * slot + images)
    local = Examples(indices, indices % 10)
    return CompromisedClient(
        local,
        2,
        4,
        0,
        slot,
        slot,
        user=slot,
        rank=slot,
        boost=K / M,
        num_clients=K,
        num_compromised=M,
    )


def backdoor(images: int = 7) -> Examples:
    """D_mal."""
    return Examples(torch.arange(50, 50 + images), torch.ones(images, dtype=torch.int64))


def bench(dtype: torch.dtype = torch.float32) -> Workbench:
    """Of :func:`toy_network` and 60 images of noise."""
    module, engine = ClientModule(toy_network(), lr=0.1).to(dtype), ReferenceEngine()
    engine.setup(module, make_split([60], seeded()))
    return Workbench(module, engine, engine.data)


def ready(attack: Attack) -> Attack:
    """Set up for :func:`bench`."""
    layers = bench().client.layers
    attack.setup(AttackSetting(60, K, layers[-1].place.stop, 5, layers))
    return attack


def crafted(
    attack: Attack, rounds: range, M: int = 2, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """What M clients submit in each of these rounds, with no more than the attack may know."""
    tools, results, knowledge = bench(dtype), [], attack.knowledge
    P = tools.client.num_parameters
    for t in rounds:
        # Drawn in one precision: another would draw other numbers.
        start = torch.randn(P, generator=seeded(8 + t)).to(dtype) / 5
        honest = torch.randn(K - M, P, generator=seeded(t + 9)).to(dtype) / 10
        members = tuple(replace(client(slot, M=M), round=t) for slot in range(M))
        context = AttackContext(
            round=t,
            seed=0,
            start=start,
            boosts=torch.full((M,), K / M, dtype=torch.float64),
            layers=tools.client.layers,
            clients=torch.arange(M),
            members=members,
            num_clients=K,
            backdoor=backdoor(),
            workbench=tools,
        )
        attack.observe(t, start)
        attack.before_training(context)
        lanes = [attack.lanes(member, backdoor(), member.boost) for member in members]
        trained = tools.engine.train(start, Plan(t, [*chain(*lanes)])).updates.view(M, -1, P)
        if knowledge >= Knowledge.UPDATES:
            context = replace(context, honest_updates=honest, honest_clients=torch.arange(M, K))
        if knowledge >= Knowledge.DEFENSE:
            everybody = torch.cat([trained[:, 0], honest])
            places, weights = torch.arange(K) < M, torch.full((K,), 1 / K)
            told = replace(defense_context(P, K, t), theta=start, layers=tools.client.layers)
            asked = simulator(NormClip(1.0), everybody, weights, places, told)
            context = replace(context, simulate=asked)
        with untouched(trained, start, context.boosts, context.honest_updates):
            results.append(attack.craft(trained, context))
    return results


class AttackContract(PluginContract):
    """For every attack of :attr:`conf`."""

    group = "attack"

    def build(self, name: str) -> Any:
        """Set up, with the parameters that are its class's for tests."""
        return ready(make(self.group, self.resolved(name, **self.target(name).in_tests)))

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
        plugin.before_training(self._context(tools, theta))
        updates = tools.train(theta, plugin.lanes(client(), backdoor(), 10.0))
        assert updates.isfinite().all()
        assert (updates.norm(dim=1) > 0).all()

    @staticmethod
    def _context(tools: Workbench, theta: Tensor) -> AttackContext:
        boosts, members = torch.tensor([float(K)]), (client(),)
        return AttackContext(
            round=0,
            seed=0,
            start=theta,
            boosts=boosts,
            layers=tools.client.layers,
            clients=torch.tensor([0]),
            members=members,
            num_clients=K,
            backdoor=backdoor(),
            workbench=tools,
        )

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

    def test_it_runs_in_a_federation(self, name: str) -> None:
        changed = self.target(name).in_tests
        run = federation(
            {"attack": self.resolved(name, **changed)},
            "participation=random_sampling",
            "participation.fraction=0.5",
        )
        start = run.theta.detach().clone()
        fit(run)
        assert run.theta.isfinite().all()
        assert not torch.equal(run.theta, start)
