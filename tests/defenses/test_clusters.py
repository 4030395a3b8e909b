"""Rules that find backdoors among updates: by hand, and by the traps that others fell into."""

import pytest
import torch
from torch import Tensor

from benchmark.defenses.align_ins import sign_agreement
from benchmark.defenses.multi_metrics import manhattan, whitened_squares
from benchmark.defenses.submissions import cosine_distances, deviations, gram, squared_distances
from benchmark.testing import aggregate
from benchmark.testing.toys import seeded

SIGNS = torch.tensor(
    [[1, 1, 0.1, 0], [1, 0.9, -0.1, 0], [0.9, 1, 0.1, 0], [-1, -1, 0.1, 0]], dtype=torch.float64
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_deviations_are_from_the_true_median_in_population_stds() -> None:
    found = deviations(torch.tensor([1.0, 2.0, 3.0, 10.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.4243, 0.1414, 0.1414, 2.1213], abs=1e-4)
    assert deviations(torch.full((4,), 0.1)).tolist() == [0, 0, 0, 0]


def test_angles_of_models_that_nearly_agree_are_exact() -> None:
    """1 − cos of models is 10⁻¹² here: formed from cosines, nothing is left of it."""
    theta, rows = 100 * drawn(1, 300, seed=1), 1e-4 * drawn(6, 300)
    near = cosine_distances(
        squared_distances(rows, rows.norm(dim=1)),
        2 * (rows @ theta[0]) + rows.norm(dim=1).square(),
        theta.norm().square(),
    )
    unit = theta / theta.norm()
    across = rows - (rows @ unit.T) * unit
    expected = gram(across[:, None].sub(across[None]).flatten(0, 1)).diagonal().view(6, 6)
    expected = expected / (2 * theta.norm().square())
    assert torch.allclose(near, expected, rtol=1e-4, atol=0)
    assert near.max() < 1e-9


def test_an_angle_with_a_row_of_zeros_is_a_right_one() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=torch.float64)
    lengths = rows.norm(dim=1)
    found = cosine_distances(squared_distances(rows, lengths), lengths.square())
    assert found.tolist() == [[0, 1, 1, 1], [1, 0, 1, 2], [1, 1, 0, 1], [1, 2, 1, 0]]


def test_align_ins_by_hand() -> None:
    assert sign_agreement(SIGNS, 2).tolist() == [1, 1, 1, 0]
    result = aggregate("align_ins", SIGNS, theta=torch.ones(4), sparsity=0.5)
    assert result.trust.tolist() == [1, 1, 1, 0]
    # The median norm of those that are kept, not of all.
    assert result.info["bound"] == pytest.approx(1.3491, abs=1e-4)
    kept = SIGNS[:3]
    clipped = kept * (result.info["bound"] / kept.norm(dim=1)).clamp(max=1)[:, None]
    assert torch.allclose(result.update, clipped.mean(dim=0))


def test_align_ins_looks_at_the_model_and_bounds_strictly() -> None:
    rows = torch.tensor([[1.0, 0.1], [1.0, -0.1], [1.0, 0.2], [0.1, 9.0]], dtype=torch.float64)
    with_model = aggregate("align_ins", rows, theta=[1.0, 0.0], sparsity=1.0, lambda_s=4.0)
    assert with_model.trust.tolist() == [1, 1, 1, 0]
    without = aggregate("align_ins", rows, sparsity=1.0, lambda_s=4.0)
    assert without.trust.tolist() == [1, 1, 1, 1]
    # Shares 1, 1, 0, 0: each lies exactly one std from the median.
    halves = torch.tensor([[2.0, 1], [2, 1], [1, -2], [1, -2]])
    result = aggregate("align_ins", halves, sparsity=0.5)
    assert result.trust.tolist() == [0, 0, 0, 0]
    assert result.info["all_rejected"] == 1


def test_multi_metrics_scores_are_not_centered_and_divide_by_one_less() -> None:
    features = drawn(7, 3) + 5
    expected = features @ torch.linalg.inv(torch.cov(features.T)) @ features.T
    assert torch.allclose(whitened_squares(features), expected.diagonal())
    # Of a singular one the pseudo-inverse.
    features[:, 1] = 2 * features[:, 0]
    features[:, 2] = 0
    expected = features @ torch.linalg.pinv(torch.cov(features.T)) @ features.T
    assert torch.allclose(whitened_squares(features), expected.diagonal())


def test_multi_metrics_adds_up_distances_of_updates_or_of_models() -> None:
    rows, theta = drawn(11, 40), 5 * drawn(40, seed=1)
    assert torch.allclose(manhattan(rows), (rows[:, None] - rows[None]).abs().sum(dim=2))
    for on, x in (("updates", rows), ("models", rows + theta)):
        lengths = x.norm(dim=1)
        angles = (1 - (x @ x.T) / (lengths[:, None] * lengths)).fill_diagonal_(0)
        columns = (x[:, None] - x[None]).abs().sum(dim=2), (lengths[:, None] - lengths).abs()
        told = torch.stack([c.sum(dim=1) for c in (*columns, angles.square())], dim=1)
        scores = (told @ torch.linalg.inv(torch.cov(told.T)) * told).sum(dim=1)
        kept = torch.zeros(11).double()
        kept[scores.argsort()[:3]] = 1  # ⌊3.3⌋
        result = aggregate("multi_metrics", rows, theta=theta, on=on)
        assert torch.equal(result.trust, kept)
        shares = torch.arange(1.0, 12.0).double()
        weighted = aggregate("multi_metrics", rows, theta=theta, on=on, weights=shares)
        expected = (kept * shares) @ rows / (kept * shares).sum()
        assert torch.allclose(weighted.update, expected)


def test_multi_metrics_of_the_text_are_against_the_model() -> None:
    rows, theta = drawn(8, 40), 5 * drawn(40, seed=1)
    x = rows + theta
    cosine = (x @ theta) / (x.norm(dim=1) * theta.norm())
    metrics = torch.stack([rows.abs().sum(dim=1), rows.norm(dim=1), cosine], dim=1)
    told = (metrics[:, None] - metrics[None]).abs().sum(dim=1)
    least = whitened_squares(told).argsort()[:2]
    result = aggregate("multi_metrics", rows, theta=theta, features="paper")
    assert sorted(least.tolist()) == result.trust.nonzero().flatten().tolist()
