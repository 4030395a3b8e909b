"""Lanes over the actors of a cluster of this machine."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from benchmark.attacks.norm_bounded import NormBounded
from benchmark.defenses.norm_clip import NormClip
from benchmark.engine.base import Engine, Trained
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Plan
from benchmark.engine.ray import RayEngine, _is_plain
from benchmark.utils.errors import UserError
from tests.support.toys import fit, make_federation

ray = pytest.importorskip("ray", reason="needs the extra: make test-ray")
# Ray's own sockets and files, at the end of a process.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def final(engine: Engine, **changes: int) -> Tensor:
    federation = make_federation(
        engine=engine, attack=NormBounded(), defense=NormClip(), rounds=4, **changes
    )
    fit(federation)
    engine.release()
    return federation.result


class Losing(RayEngine):
    """One of its actors dies in the second round, while it trains."""

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        if plan.round == 1:
            ray.kill(self.actors[0], no_restart=False)
        return super().train(theta, plan)


@pytest.mark.parametrize("engine", [RayEngine(num_cpus=2), Losing(actors=2)])
def test_a_federation_has_the_bits_of_engine_cpu(cluster: None, engine: RayEngine) -> None:
    expected = final(CpuEngine(workers=1))
    assert torch.equal(final(engine), expected)
    assert engine.workers == 2
    assert engine.state() == engine.own.state()


class InParts(RayEngine):
    """Has the rows of compromised clients only."""

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        assert not any(map(_is_plain, plan.lanes))
        return super().train(theta, plan)


def test_a_cohort_in_parts_is_summed_up_where_it_was_trained(cluster: None) -> None:
    whole = final(CpuEngine(workers=1), clients_per_round=6)
    changes = {"clients_per_round": 6, "part_size": 2}
    parts = final(InParts(actors=1), **changes)
    assert torch.equal(parts, final(CpuEngine(workers=1), **changes))
    assert whole.dtype == torch.float64
    assert (whole - parts).norm() <= 1e-10 * whole.norm()


def test_where_no_cluster_is_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for address, fault in [
        ("127.0.0.1:1", "engine.address=127.0.0.1:1: no Ray cluster: .*refused"),
        ("ray://here:1", "engine.address=ray://here:1: HOST:PORT, auto or nothing"),
    ]:
        with pytest.raises(UserError, match=fault):
            final(RayEngine(address))
