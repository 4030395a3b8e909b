"""Defenses on arrays: what may be given, and what is refused in one clear line."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.testing import aggregate
from benchmark.testing.toys import seeded
from benchmark.utils.errors import UserError

ROWS = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)


@pytest.mark.parametrize("name", ["median", "krum", "lasa", "align_ins", "nnm"])
@pytest.mark.parametrize(
    "given",
    [ROWS.half(), ROWS.bfloat16(), ROWS.numpy().astype(np.float16), (9 * ROWS).int().tolist()],
)
def test_whole_numbers_and_half_precision_are_computed_in_the_default_one(
    name: str, given: Any
) -> None:
    exact = torch.as_tensor(given).float()
    found = aggregate(name, given).update
    assert found.dtype == torch.float32
    assert torch.equal(found, aggregate(name, exact).update)


@pytest.mark.parametrize("given", [list(ROWS), list(ROWS.numpy()), ROWS.tolist()])
def test_updates_may_be_a_list_of_vectors(given: Any) -> None:
    expected = aggregate("median", ROWS).update
    assert torch.allclose(aggregate("median", given).update.double(), expected)
    with pytest.raises(ValueError, match="rows must be of one length"):
        aggregate("median", [*given[:4], given[4][:2]])


def test_updates_may_hang_on_what_is_trained() -> None:
    trained = ROWS.clone().requires_grad_()
    found = aggregate("median", trained, theta=trained[0]).update
    assert torch.equal(found, aggregate("median", ROWS).update)


@pytest.mark.parametrize("name", ["foolsgold", "fl_detector", "lockdown"])
def test_there_is_room_for_who_comes_later(name: str) -> None:
    rounds = [{"updates": ROWS[:k], "clients": list(range(k, 2 * k))} for k in (2, 5, 3)]
    found = aggregate(name, ROWS, clients=[11, 0, 3, 4, 5], history=rounds)
    assert found.update.isfinite().all()


def test_the_defense_is_told_of_all_rounds() -> None:
    pytest.importorskip("dp_accounting")
    first, second = (
        aggregate("central_dp", ROWS, noise_multiplier=2.0, history=[ROWS] * k).info["epsilon"]
        for k in range(2)
    )
    assert second > first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"updates": ROWS[0]}, r"updates must be \(clients, parameters\), got \(3,\)"),
        ({"updates": ROWS[:0]}, r"updates must be \(clients, parameters\), got \(0, 3\)"),
        ({"updates": []}, r"updates must be \(clients, parameters\), got \(0,\)"),
        ({"updates": ROWS[:, :0]}, r"updates must be \(clients, parameters\), got \(5, 0\)"),
        ({"weights": [0] * 5}, "weights must be 5 numbers from 0, one of each update, not all 0"),
        ({"weights": [1] * 4}, "weights must be 5 numbers"),
        ({"weights": [-1, 1, 1, 1, 1]}, "weights must be 5 numbers"),
        ({"weights": [torch.nan, 1, 1, 1, 1]}, "weights must be 5 numbers"),
        ({"clients": [0, 1]}, "clients must be 5 whole numbers from 0, one of each update"),
        ({"clients": [0, 1, 2, 3, -1]}, "clients must be 5 whole numbers"),
        ({"clients": [0.5, 1, 2, 3, 4]}, "clients must be 5 whole numbers"),
        ({"theta": [1.0]}, r"theta must be \(3,\), as updates are, got \(1,\)"),
        ({"history": [ROWS[:, :2]]}, r"all rounds must have as many parameters, got \[2, 3\]"),
        ({"history": [{"update": ROWS}]}, "an earlier round must have updates .* got update"),
        ({"history": [ROWS] * 2, "round": 1}, "round 1 cannot follow 2 earlier ones"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aggregate("geometric_median", **{"updates": ROWS, **given})


def test_a_name_that_no_defense_has_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match="no defense 'kurm'; did you mean 'krum'"):
        aggregate("kurm", ROWS)


def test_a_root_update_is_as_long_as_the_others() -> None:
    with pytest.raises(ValueError, match=r"root must be \(3,\), as updates are, got \(2,\)"):
        aggregate("fltrust", ROWS, root=[1.0, 0.0])
