"""A cohort that is trained and aggregated part by part, when it is larger than memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import Attack, Knowledge
from benchmark.attacks.boosted import Boosted
from benchmark.attacks.none import NoAttack
from benchmark.defenses.adaptive_zeroing import AdaptiveZeroing
from benchmark.defenses.base import Defense
from benchmark.defenses.central_dp import CentralDP
from benchmark.defenses.fltrust import FlTrust
from benchmark.defenses.krum import Krum
from benchmark.defenses.mean import Mean
from benchmark.defenses.norm_clip import NormClip
from benchmark.defenses.norm_reject import NormReject
from benchmark.defenses.weak_dp import WeakDP
from benchmark.engine.base import Trained
from benchmark.engine.plan import Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation.contract import DivergedError
from benchmark.federation.participation import RandomSampling
from benchmark.run.recorder import Recorder
from tests.support.toys import fit, make_federation


class Counting(ReferenceEngine):
    """Remembers how many lanes it trained at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: list[int] = []

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        self.lanes.append(len(plan.lanes))
        return super().train(theta, plan)


def run(defense: Defense, attack: Attack, size: int, **changes: Any) -> tuple[Any, Any, list[int]]:
    engine, recorder = Counting(), Recorder()
    federation = make_federation(
        defense=defense,
        attack=attack,
        engine=engine,
        participation=RandomSampling(0.4),
        clients_per_round=6,
        part_size=size,
        **changes,
    )
    fit(federation, callbacks=[recorder])
    return federation.theta.detach(), recorder.curves, engine.lanes


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("attack", [NoAttack, Boosted])
@pytest.mark.parametrize(
    "defense",
    [
        Mean,
        lambda: NormClip(0.2),
        lambda: NormReject(0.5),
        lambda: NormReject(1e-9),
        lambda: WeakDP(0.2, 0.01, "sum"),
    ],
)
def test_parts_make_the_same_of_it(defense: Any, attack: type[Attack], weighting: str) -> None:
    whole, curves, _ = run(defense(), attack(), 0, weighting=weighting)
    parts, found, _ = run(defense(), attack(), 4, weighting=weighting)
    assert (whole - parts).norm() <= 1e-12 * whole.norm()
    assert found.keys() == curves.keys()
    for name, curve in curves.items():
        assert found[name].values == pytest.approx(curve.values, abs=1e-6), name


@pytest.mark.parametrize(
    "build", [lambda: CentralDP(0.1, 0.1, adaptive=True), AdaptiveZeroing, FlTrust]
)
def test_rules_with_state_or_root_data_stream_too(build: Any) -> None:
    whole, curves, _ = run(build(), Boosted(), 0, root_images=20)
    parts, found, lanes = run(build(), Boosted(), 4, root_images=20)
    assert (whole - parts).norm() <= 1e-10 * whole.norm()
    for name, curve in curves.items():
        assert found[name].values == pytest.approx(curve.values, abs=1e-6), name
    assert (1 in lanes) == (build is FlTrust)


def test_no_more_clients_than_asked_for_are_trained_at_a_time() -> None:
    _, curves, lanes = run(Mean(), Boosted(), 2)
    compromised = curves["num_compromised"].values
    expected: list[int] = []
    for m in map(int, compromised):
        expected += [m] * (m > 0) + [2] * ((6 - m) // 2) + [1] * ((6 - m) % 2)
    assert sum(compromised) > 0
    assert lanes == expected


def test_who_must_see_all_updates_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="part_size = 2: Krum needs all updates at once"):
        run(Krum(1), NoAttack(), 2)

    class Informed(Boosted):
        knowledge = Knowledge.UPDATES

    with pytest.raises(ValueError, match="part_size = 2: Informed sees all updates"):
        run(Mean(), Informed(), 2)


def test_one_who_sends_what_is_not_finite_is_named() -> None:
    class Broken(Boosted):
        def craft(self, updates: Tensor, context: Any) -> Tensor:
            return torch.full_like(updates[:, 0], torch.nan)

    with pytest.raises(DivergedError) as diverged:
        run(Mean(), Broken(), 2)
    assert diverged.value.honest == []
    assert diverged.value.compromised
    theta, curves, _ = run(NormReject(1.0), Broken(), 2)
    assert theta.isfinite().all()
    assert max(curves["true_positive_rate"].values) == 1
