"""Rules that find backdoors among updates: by hand, and by the traps that others fell into."""

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN
from torch import Tensor

from benchmark.defenses.align_ins import sign_agreement
from benchmark.defenses.base import DefenseSetting
from benchmark.defenses.clusters import densest, largest, num_clusters, random_state
from benchmark.defenses.flame import Flame
from benchmark.defenses.multi_metrics import manhattan, whitened_squares
from benchmark.defenses.rflbat import likeness, near, plane
from benchmark.defenses.sign_guard import SignGuard, mean_shifted, of_others, sign_shares
from benchmark.defenses.submissions import (
    Submissions,
    cosine_distances,
    deviations,
    gram,
    squared_distances,
)
from benchmark.testing import aggregate
from benchmark.testing.toys import defense_context, seeded

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


def test_noise_of_a_clustering_is_no_cluster_and_a_point_is_not_its_own_sample() -> None:
    assert largest(np.array([-1, -1, -1, 0, 1, 1])).tolist() == [False] * 4 + [True] * 2
    assert not largest(np.array([-1, -1])).any()
    points = drawn(12, 2, seed=6)
    distances = torch.cdist(points, points)
    before = distances.clone()
    theirs = HDBSCAN(2, min_samples=3, metric="precomputed", allow_single_cluster=True, copy=True)
    wrong = HDBSCAN(2, min_samples=2, metric="precomputed", allow_single_cluster=True, copy=True)
    kept = densest(distances, 2, 2)
    assert torch.equal(kept, largest(theirs.fit(distances.numpy()).labels_))
    assert not torch.equal(kept, largest(wrong.fit(distances.numpy()).labels_))
    # Nor are the rows of the matrix points.
    rows = HDBSCAN(2, min_samples=3, allow_single_cluster=True, copy=True)
    assert not torch.equal(kept, largest(rows.fit(distances.numpy()).labels_))
    assert torch.equal(distances, before)


def test_flame_keeps_the_cluster_and_clips_to_the_median_of_all_norms() -> None:
    rows = torch.tensor([[1.0, 0.1], [2.0, 0.0], [4.0, -0.1], [-30.0, 30.0], [-30.0, 31.0]])
    result = aggregate("flame", rows.double(), noise=0.0)
    assert result.trust.tolist() == [1, 1, 1, 0, 0]
    bound = rows[2].norm()
    assert result.info["bound"] == pytest.approx(bound.item())
    assert torch.allclose(result.update, rows[:3].double().mean(dim=0))


def test_flame_clusters_models_and_not_only_what_changed() -> None:
    near = torch.tensor([[0.0, 1.0], [0.01, 1.0], [-0.01, 1.0]], dtype=torch.float64)
    rows = torch.cat([near, torch.tensor([[0.0, 90.0], [0.1, 90.0]], dtype=torch.float64)])
    theta = torch.tensor([30.0, 0.0], dtype=torch.float64)
    updates = aggregate("flame", rows, theta=theta, on="updates")
    models = aggregate("flame", rows, theta=theta)
    assert models.trust.tolist() == [1, 1, 1, 0, 0]
    assert updates.trust[3] == 1


@pytest.mark.parametrize("server_lr", [1.0, 0.25])
def test_flames_noise_is_a_std_on_the_model(server_lr: float) -> None:
    P = 20000
    rows = drawn(1, P) + 0.01 * drawn(5, P, seed=1)
    found = []
    for noise in (0.0, 0.01):
        defense = Flame(noise=noise)
        context = defense_context(P, 5)
        defense.setup(DefenseSetting(5, 5, P, 1, context.layers, server_lr=server_lr))
        found.append(defense.aggregate(rows, torch.full((5,), 0.2), context))
    still, noisy = (result.update for result in found)
    std = (server_lr * (noisy - still)).std()
    assert std == pytest.approx(0.01 * found[0].info["bound"].item(), rel=0.03)


def test_sign_guard_counts_signs_and_divides_by_the_most() -> None:
    block = torch.tensor([[1.0, 2, 0, -1], [1, 1, 1, 1], [-1, -1, 0, 0]])
    expected = [[0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 1]]
    assert sign_shares(block).tolist() == [pytest.approx(row, abs=1e-6) for row in expected]
    assert sign_shares(block).dtype == torch.float64
    # One cluster where all are alike: a bandwidth of 0.
    assert mean_shifted(torch.ones(4, 3).double(), 0).all()


def test_sign_guard_bounds_norms_strictly_and_clips_to_their_median() -> None:
    rows = torch.tensor([0.125, 0.126, 1, 1, 1, 1.5, 2.9, 3]).double()[:, None].repeat(1, 4) / 2
    result = aggregate("sign_guard", rows, low=0.125)
    assert result.trust.tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    assert torch.allclose(result.update, torch.full((4,), (0.126 + 5) / 6 / 2).double())


def test_sign_guard_looks_at_a_drawn_block_that_hangs_together() -> None:
    rows = torch.arange(59.0).repeat(3, 1)
    starts = set()
    for seed in range(300):
        context = defense_context(59, 3, seed=seed)
        received = Submissions(rows, torch.full((3,), 1 / 3), context.clients, 0, context)
        block = SignGuard()._drawn_block(received)
        starts.add(int(block[0, 0]))
        assert torch.equal(block[0], block[0, 0] + torch.arange(5.0))
    assert min(starts) == 0
    assert max(starts) == 54
    alternating = torch.ones(9, 100, dtype=torch.float64)
    alternating[8, ::2] = -1
    assert aggregate("sign_guard", alternating).trust.tolist() == [1] * 8 + [0]


def test_sign_guard_clusters_in_double_precision() -> None:
    """Whatever the updates are: in single precision it keeps others."""
    state, others = random_state(0, 0, "defense clusters"), 0
    for seed in (16, 27, 41):
        rows = torch.randn(12, 60, generator=seeded(seed))
        shares = sign_shares(rows)
        kept = mean_shifted(shares, state)
        result = aggregate("sign_guard", rows, block=1.0, low=0.0, high=9.0)
        assert torch.equal(result.trust > 0, kept)
        others += not torch.equal(mean_shifted(shares.float(), state), kept)
    assert others > 0


def test_sign_guard_compares_with_the_last_aggregate_from_the_fourth_round() -> None:
    rounds = [torch.ones(6, 10).double()] * 3
    built = SignGuard(similarity="sim", block=1.0)
    aggregate(built, rounds[0], history=rounds[1:])
    assert built.rounds_seen == 3
    assert torch.allclose(built.last, torch.ones(10).double())
    # All signs are the same: only the direction tells the last two.
    rows = torch.ones(6, 10).double() + 0.1 * drawn(6, 10)
    rows[4:] = torch.tensor([3.0] + [0.1] * 9) + 0.01 * drawn(2, 10).abs()
    context = defense_context(10, 6)
    received = Submissions(rows, torch.full((6,), 1 / 6), context.clients, 0, context)
    late = torch.nn.functional.cosine_similarity(rows, torch.ones(1, 10).double())
    assert torch.allclose(built._fourth(received), late)
    for similarity in ("sim", "dist"):
        for history in ((), rounds):
            guard = {"similarity": similarity, "history": history}
            assert aggregate("sign_guard", rows, **guard).trust.tolist() == [1, 1, 1, 1, 0, 0]
    assert aggregate("sign_guard", rows).trust.tolist() == [1] * 6
    three = torch.eye(3).double()
    assert of_others(1 - three).tolist() == [1, 1, 1]


def test_rflbat_projects_on_the_first_components_of_centered_updates() -> None:
    rows = drawn(7, 20) * torch.linspace(5, 0.1, 20) + 100
    centered = rows - rows.mean(dim=0)
    _, _, axes = torch.linalg.svd(centered, full_matrices=False)
    expected = centered @ axes[:2].T
    found = plane(squared_distances(rows, rows.norm(dim=1)))
    assert torch.allclose(found.abs(), expected.abs(), atol=1e-8)
    assert plane(torch.zeros(1, 1).double()).tolist() == [[0, 0]]


def test_the_gap_statistic_counts_every_point_of_a_cluster() -> None:
    """Taking a cluster's first member for all of them sees no difference within it."""
    centers = torch.tensor([[0.0, 0], [8, 8]])
    points = (centers.repeat(12, 1) + 0.3 * drawn(24, 2)).double().numpy()
    where = (0, 0, "test")
    assert num_clusters(points, 10, 5, lambda apart: apart.sum(), where) == 2
    assert num_clusters(drawn(24, 2).numpy(), 10, 5, lambda apart: apart.sum(), where) == 1
    assert num_clusters(np.zeros((5, 2)), 10, 5, lambda apart: apart.sum(), where) == 1


def test_rflbat_keeps_the_cluster_whose_updates_are_least_alike() -> None:
    honest = torch.cat([torch.full((8, 1), 5.0), drawn(8, 30, seed=1)], dim=1)
    backdoored = torch.zeros(6, 31).double()
    backdoored[:, 1] = 20
    backdoored[:, 2:] = 0.1 * drawn(6, 29, seed=2)
    rows = torch.cat([backdoored, honest])
    result = aggregate("rflbat", rows)
    assert result.trust[:6].sum() == 0
    assert result.trust[6:].sum() >= 6
    assert result.info["clusters"] >= 2
    # One alone is like itself; of two at a right angle each is half alike.
    cosines = torch.eye(3).double()
    assert likeness(cosines, torch.tensor([0])) == 1
    assert likeness(cosines, torch.tensor([1, 2])) == 0.5


def test_rflbat_leaves_out_what_lies_far_from_all() -> None:
    points = torch.tensor([[0.0, 0], [0, 1], [1, 0], [50, 0]]).double()
    # Sums of distances 52, 53.4, 51.4, 149: the median is 52.7.
    assert near(points, 2.0).tolist() == [True, True, True, False]
    assert near(points, 3.0).all()
    assert near(torch.zeros(3, 2), 4.0).all()


LAYERS = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4), "b.bias": (2,)}


@pytest.mark.parametrize("averaged", ["dense", "sparse"])
def test_lasa_as_its_formulas_say(averaged: str) -> None:
    rows = drawn(9, 26) * torch.linspace(0.5, 3, 9)[:, None]
    lengths = rows.norm(dim=1)
    dense = rows * (lengths.median() / lengths).clamp(max=1)[:, None]
    sparse, wide = dense.clone(), [*range(12), *range(16, 24)]
    for row in sparse:
        limit = row[wide].abs().sort(descending=True).values[int(0.5 * 20) - 1]
        small = torch.zeros(26, dtype=torch.bool)
        small[wide] = row[wide].abs() <= limit
        row[small] = 0
    update, trust = torch.zeros(26).double(), torch.zeros(9).double()
    for place in (slice(0, 12), slice(12, 16), slice(16, 24), slice(24, 26)):
        part = sparse[:, place]
        signs = part.sign()
        purity = signs.sum(dim=1) / signs.abs().sum(dim=1).clamp(min=1)
        kept = torch.ones(9, dtype=torch.bool)
        for values, bound in ((part.norm(dim=1), 1.5), (purity, 1.0)):
            kept &= (values - values.median()).abs() / values.std(correction=0) < bound
        assert kept.any()
        update[place] = (dense if averaged == "dense" else sparse)[kept, place].mean(dim=0)
        trust += kept * part.shape[1] / 26
    options = {"sparsity": 0.5, "lambda_n": 1.5, "aggregate": averaged}
    result = aggregate("lasa", rows, layers=LAYERS, **options)
    assert torch.allclose(result.update, update)
    assert torch.allclose(result.trust, trust)
    assert result.info["fall_backs"] == 0


def test_lasa_falls_back_on_everybody_tensor_by_tensor_and_counts_it() -> None:
    # Purities 1, 1, 0, 0: each lies one std from the median.
    rows = torch.tensor([[2.0, 1, 1, 1], [2, 1, 1, 1], [-1, -2, 1, 1], [-1, -2, 1, 1]]).double()
    layers = {"a": (1, 2), "b": (1, 2)}
    result = aggregate("lasa", rows, layers=layers, sparsity=0.0)
    assert result.info["fall_backs"] == 1
    assert result.trust.tolist() == [1, 1, 1, 1]
    assert torch.allclose(result.update, rows.mean(dim=0))
