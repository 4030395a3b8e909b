"""Running statistics of BatchNorm: averaged beside the updates, which no defense sees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.attacks.boosted import Boosted
from benchmark.defenses.base import Aggregation, Defense, DefenseContext
from benchmark.defenses.mean import Mean
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Plan
from benchmark.federation.reception import averaged
from benchmark.run.recorder import Checkpoint
from benchmark.testing.toys import make_split, seeded
from tests.support.toys import fit, make_federation


def client() -> ClientModule:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.AvgPool2d(4), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(100, 10)
    )
    return ClientModule(model, lr=0.1).double()


class KeepsSecond(Defense):
    """Trusts half of the second client and nobody else; notes what it is shown."""

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        self.shape = tuple(updates.shape)
        trust = torch.tensor([0.0, 0.5, 0.0])
        return Aggregation(updates[1], trust=trust)


def test_statistics_are_averaged_by_weight_and_trust() -> None:
    statistics = torch.rand(4, 3, generator=seeded())
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    mean = averaged(statistics, weights, None)
    assert mean is not None
    assert torch.allclose(mean, (weights[:, None] * statistics).sum(0).float())
    statistics[0] = torch.inf
    found = averaged(statistics, weights, torch.tensor([0.0, 0.5, 1.0, 0.0]))
    assert found is not None
    assert torch.allclose(found, (statistics[1] + 3 * statistics[2]) / 4)
    assert averaged(statistics, weights, torch.zeros(4)) is None
    assert averaged(statistics[:, :0], weights, None) is averaged(None, weights, None) is None


@pytest.mark.parametrize("part_size", [0, 2])
def test_the_global_statistics_are_those_of_the_clients_that_were_kept(part_size: int) -> None:
    defense = Mean() if part_size else KeepsSecond()
    federation = make_federation(client=client(), defense=defense, rounds=1, part_size=part_size)
    start, before = federation.theta.detach().clone(), federation.client.statistics()
    fit(federation)
    after = federation.client.statistics()
    federation.client.load_statistics(before)
    plan = Plan(0, federation.plan(0, federation.sample_cohort(0)).clients)
    expected = federation.engine.train(start, plan).statistics
    assert expected is not None
    kept = expected.mean(0) if part_size else expected[1]
    assert torch.allclose(after, kept, rtol=1e-12)
    assert not torch.equal(after, before)
    if isinstance(defense, KeepsSecond):
        assert defense.shape == (3, federation.client.num_parameters)
        assert defense.setting is not None
        assert defense.setting.num_statistics == len(before)


def test_evaluation_and_the_workbench_use_them() -> None:
    federation = make_federation(client=client(), attack=Boosted())
    fit(federation)
    images = make_split([5], seeded()).pixels(torch.arange(5), torch.float64)
    federation.client.load(federation.result)
    with torch.no_grad():
        expected = federation.client.eval()(images)
    assert torch.allclose(federation.workbench.predictor(federation.result)(images), expected)


def test_they_are_saved_and_resumed(tmp_path: Path) -> None:
    def run(name: str, rounds: int, resume: bool = False) -> Any:
        federation = make_federation(client=client(), rounds=4)
        kept = Checkpoint(tmp_path / name, "a cell", 1)
        fit(federation, callbacks=[kept], epochs=rounds, resume=kept.usable() if resume else None)
        return federation

    whole = run("whole", 4)
    run("parts", 2)
    resumed = run("parts", 4, resume=True)
    assert torch.equal(resumed.theta, whole.theta)
    assert torch.equal(resumed.client.statistics(), whole.client.statistics())
