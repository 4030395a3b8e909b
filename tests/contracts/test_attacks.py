"""Every attack in conf/attack/."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, Knowledge
from benchmark.engine.plan import Examples, Lane, LocalClient, Plan
from benchmark.engine.reference import ReferenceEngine
from tests.contracts.plugin import PluginContract, build, discover
from tests.support.toys import fit, make_federation, make_split, seeded, tiny_client

P = 40
NAMES = discover("attack")


def client(slot: int = 0, round: int = 0, images: int = 9) -> LocalClient:
    indices = torch.arange(10 * slot, 10 * slot + images)
    return LocalClient(
        Examples(indices, indices % 10), epochs=2, batch_size=4, seed=0, round=round, slot=slot
    )


def backdoor(images: int = 7) -> Examples:
    return Examples(torch.arange(50, 50 + images), torch.ones(images, dtype=torch.int64))


def context(attack: Attack, M: int, round: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """As the federation makes it: no more than the attack's knowledge allows."""
    honest = torch.randn(6, P, generator=seeded(9), dtype=torch.float64).to(dtype) / 10
    return AttackContext(
        round=round,
        seed=0,
        start=torch.randn(P, generator=seeded(8), dtype=torch.float64).to(dtype),
        boosts=torch.full((M,), 8 / M, dtype=torch.float64),
        honest_updates=honest if attack.knowledge >= Knowledge.UPDATES else None,
        defense=build("defense", "mean") if attack.knowledge >= Knowledge.DEFENSE else None,
    )


def trained(attack: Attack, M: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    L = len(attack.lanes(client(), backdoor(), 8 / M))
    return torch.randn(M, L, P, generator=seeded(seed), dtype=torch.float64).to(dtype)


def crafted(attack: Attack, M: int, rounds: int = 1) -> list[Tensor]:
    return [attack.craft(trained(attack, M, seed=t), context(attack, M, t)) for t in range(rounds)]


@pytest.mark.parametrize("name", NAMES)
class TestAttack(PluginContract):
    group = "attack"

    def test_it_is_an_attack_with_stated_knowledge(self, name: str):
        attack = build("attack", name)
        assert isinstance(attack, Attack)
        assert isinstance(attack.knowledge, Knowledge)
        assert isinstance(attack.active, bool)

    def test_a_client_always_has_as_many_lanes(self, name: str):
        attack = build("attack", name)
        counts = {
            len(attack.lanes(client(slot, round, images), backdoor(mal), boost))
            for slot in (0, 2)
            for round in (0, 5)
            for images in (1, 9)
            for mal in (1, 7)
            for boost in (0.5, 30.0)
        }
        assert len(counts) == 1
        assert counts.pop() >= 1

    def test_lanes_train_on_the_adversarys_data_only(self, name: str):
        local, malicious = client().local, backdoor()
        allowed = {*local.indices.tolist(), *malicious.indices.tolist()}
        for lane in build("attack", name).lanes(client(), malicious, 30.0):
            assert isinstance(lane, Lane)
            assert lane.indices.shape == lane.labels.shape
            assert lane.indices.dtype == lane.labels.dtype == torch.int64
            assert len(lane.sizes) == len(lane.epoch_ends) == lane.indices.shape[0]
            assert all(1 <= size <= lane.indices.shape[1] for size in lane.sizes)
            used = [
                index
                for row, size in zip(lane.indices.tolist(), lane.sizes, strict=True)
                for index in row[:size]
            ]
            assert set(used) <= allowed

    def test_lanes_are_the_same_when_planned_again_and_leave_the_data_alone(self, name: str):
        local, malicious = client(), backdoor()
        before = [t.clone() for t in (local.local.indices, local.local.labels, malicious.indices)]
        attack = build("attack", name)
        state = {key: value.clone() for key, value in attack.state_dict().items()}
        plans = [attack.lanes(local, malicious, 3.0) for _ in range(2)]
        assert all(torch.equal(state[key], value) for key, value in attack.state_dict().items())
        for one, other in zip(*plans, strict=True):
            assert torch.equal(one.indices, other.indices)
            assert torch.equal(one.labels, other.labels)
            assert one.dropout_seed == other.dropout_seed
        after = (local.local.indices, local.local.labels, malicious.indices)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    def test_its_lanes_can_be_trained(self, name: str):
        engine, trainee = ReferenceEngine(), tiny_client()
        engine.setup(trainee, make_split([60], seeded()))
        lanes = build("attack", name).lanes(client(), backdoor(), 10.0)
        updates = engine.train(trainee.flat(), Plan(0, lanes)).updates
        assert updates.isfinite().all()
        assert (updates.norm(dim=1) > 0).all()

    @pytest.mark.parametrize("M", [1, 2, 3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_submits_one_finite_update_a_client(self, name: str, M: int, dtype: torch.dtype):
        attack = build("attack", name)
        result = attack.craft(trained(attack, M, dtype=dtype), context(attack, M, dtype=dtype))
        assert result.shape == (M, P)
        assert result.dtype == dtype
        assert result.isfinite().all()

    def test_float32_and_float64_agree(self, name: str):
        results = []
        for dtype in (torch.float32, torch.float64):
            attack = build("attack", name)
            updates = trained(attack, 2).to(dtype)
            results.append(attack.craft(updates, context(attack, 2, dtype=dtype)).double())
        assert (results[0] - results[1]).norm() <= 1e-5 * results[1].norm()

    def test_it_changes_nothing_that_it_is_given(self, name: str):
        attack = build("attack", name)
        updates, given = trained(attack, 2), context(attack, 2)
        before = [t.clone() for t in (updates, given.start, given.boosts)]
        attack.craft(updates, given)
        for tensor, kept in zip((updates, given.start, given.boosts), before, strict=True):
            assert torch.equal(tensor, kept)
        if given.honest_updates is not None:
            assert torch.equal(given.honest_updates, context(attack, 2).honest_updates)

    def test_it_is_deterministic(self, name: str):
        torch.manual_seed(1)
        first = crafted(build("attack", name), M=2, rounds=3)
        torch.manual_seed(2)
        second = crafted(build("attack", name), M=2, rounds=3)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_its_state_is_in_its_buffers(self, name: str):
        original = build("attack", name)
        *_, expected = crafted(original, M=2, rounds=3)
        halfway = build("attack", name)
        crafted(halfway, M=2, rounds=2)
        resumed = build("attack", name)
        resumed.load_state_dict(halfway.state_dict())
        result = resumed.craft(trained(resumed, 2, seed=2), context(resumed, 2, 2))
        assert torch.equal(result, expected)

    @pytest.mark.parametrize("participation", discover("participation"))
    def test_it_runs_in_a_federation(self, name: str, participation: str):
        presence = build("participation", participation)
        if hasattr(presence, "fraction"):
            presence.fraction = 0.5
        federation = make_federation(
            attack=build("attack", name), participation=presence, rounds=2, clients_per_round=5
        )
        start = federation.theta.detach().clone()
        fit(federation)
        assert federation.theta.isfinite().all()
        assert not torch.equal(federation.theta, start)
