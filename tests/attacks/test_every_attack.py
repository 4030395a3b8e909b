"""Every attack of ``conf/attack``: the same in every engine, and as if nobody had stopped it."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.attacks.base import Attack
from benchmark.config.compose import read_yaml, resolve
from benchmark.config.instantiate import located, make
from benchmark.config.plugins import available
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.layout import supported
from benchmark.engine.reference import ReferenceEngine
from benchmark.federation.contract import task_needed
from benchmark.federation.participation import RandomSampling
from benchmark.federation.rounds import Federation
from benchmark.run.recorder import Checkpoint
from tests.support.toys import fit, make_federation

ATTACKS = [name for name in available("attack") if name != "none"]
ENGINES = {
    "compiled": lambda: CpuEngine(workers=2),
    "vectorized": lambda: CudaEngine(convolution="grouped", lanes=3),
}


def chain(dtype: torch.dtype) -> ClientModule:
    """A network that compiled code knows, of 1,554 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
        client = ClientModule(nn.Sequential(*layers), 0.1).to(dtype)
    assert supported(client)
    return client


def built(name: str, rounds: int, engine: Engine, dtype: torch.dtype) -> Federation:
    """M of 4 clients are compromised, who have from 7 to 40 images."""

    def plugin(group: str, name: str, **changes: Any) -> Any:
        own = read_yaml(group, name)
        return make(group, resolve(group, name, {**own, **changes}))

    attack: Attack = plugin(
        "attack", name, **located(read_yaml("attack", name)["_target_"]).in_tests
    )
    task = task_needed(attack) or "pattern"
    return make_federation(
        attack=attack,
        task=plugin("task", task, num_tasks=2, target_class=1),
        participation=RandomSampling(0.5),
        client=chain(dtype),
        engine=engine,
        rounds=rounds,
        clients_per_round=4,
        local_epochs=1,
        batch_size=10,
    )


@cache
def expected(name: str) -> Tensor:
    run = built(name, 3, ReferenceEngine(), torch.float64)
    fit(run)
    return run.theta.detach().clone()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_engine_gives_what_the_reference_gives(name: str, engine: str):
    run = built(name, 3, ENGINES[engine](), torch.float64)
    start = run.theta.detach().clone()
    fit(run)
    moved = expected(name) - start
    assert moved.isfinite().all()
    assert moved.norm() > 0
    assert (run.theta - start - moved).norm() <= 1e-10 * moved.norm()


@pytest.mark.parametrize("name", ATTACKS)
def test_who_goes_on_from_a_checkpoint_ends_with_the_same_bits(name: str, tmp_path: Path):
    """What an attack remembers and a trigger that it learned are saved."""
    ends = []
    for stopped in (False, True):
        kept = Checkpoint(tmp_path / str(stopped), "a cell", 2)
        kept.folder.mkdir()
        if stopped:
            fit(built(name, 3, CpuEngine(workers=1), torch.float32), epochs=2, callbacks=[kept])
        run = built(name, 3, CpuEngine(workers=1), torch.float32)
        fit(run, callbacks=[kept], resume=kept.usable())
        ends.append(run)
    assert torch.equal(ends[0].theta, ends[1].theta)
    one, other = (run.state_dict() for run in ends)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
