"""Rules that train or evaluate models on the server: by hand, and by the traps of others."""

import pytest
import torch
from torch import Tensor

from benchmark.defenses.fltrust import FlTrust
from benchmark.testing import aggregate
from benchmark.testing.toys import seeded
from tests.support.toys import fit, make_federation


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


AROUND = [[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]]


def test_fltrust_by_hand_whatever_the_model_is() -> None:
    """Cosines of models in place of updates would be 1 for everybody beside a large θ."""
    for theta in ([0.0, 0.0], [100.0, 100.0]):
        result = aggregate("fltrust", AROUND, root=[1.0, 0.0], theta=theta)
        assert result.trust.tolist() == pytest.approx([1, 0, 0, 0.5**0.5])
        assert result.update.tolist() == pytest.approx([0.8787, 0.2929], abs=1e-4)
    longer = aggregate("fltrust", AROUND, root=[3.0, 0.0])
    assert longer.update.tolist() == pytest.approx([3 * 0.8787, 3 * 0.2929], abs=1e-3)


def test_fltrust_trusts_nobody_where_all_point_away() -> None:
    result = aggregate("fltrust", [[-2.0, 0.0], [0.0, 5.0], [0.0, 0.0]], root=[1.0, 0.0])
    assert result.update.tolist() == [0, 0]
    assert result.trust.tolist() == [0, 0, 0]
    assert result.info["all_rejected"] == 1


def test_fltrust_has_to_have_an_update_of_its_own() -> None:
    with pytest.raises(ValueError, match="the server's own update is 0"):
        aggregate("fltrust", AROUND, root=[0.0, 0.0])
    with pytest.raises(ValueError, match="needs clean data of the server's own"):
        aggregate("fltrust", AROUND)
    diverged = aggregate("fltrust", AROUND, root=[torch.inf, 0.0])
    assert not diverged.update.isfinite().all()
    assert diverged.trust.tolist() == [0, 0, 0, 0]


def test_fltrusts_server_trains_from_the_global_model_by_the_clients_rule() -> None:
    federation = make_federation(defense=FlTrust(), root_images=30, rounds=1)
    start = federation.theta.detach().clone()
    fit(federation)
    _, plan = federation.prepare(0)
    *updates, own = federation.engine.train(start, plan).updates
    expected = aggregate("fltrust", torch.stack(updates), root=own).update
    assert torch.allclose(federation.theta - start, expected, rtol=1e-12, atol=0)
    assert expected.norm() > 0
