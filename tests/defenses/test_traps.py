"""Traps that other implementations fell into, and what reviews found: one test each."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.defenses import clusters
from benchmark.defenses.align_ins import sign_agreement
from benchmark.defenses.clusters import kmeans, largest, num_clusters, random_state
from benchmark.defenses.fl_detector import FlDetector
from benchmark.defenses.masa import rises
from benchmark.defenses.rflbat import plane
from benchmark.defenses.sign_guard import mean_shifted
from benchmark.testing import aggregate
from benchmark.testing.toys import model_context, seeded, toy_network
from benchmark.utils.randomness import generator


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("far", [1e4, 1e12, 1e30])
def test_what_lies_far_off_pulls_the_geometric_median_no_harder_than_others(far: float) -> None:
    """Its distances would hide those of the others, and steps of its scale end too early."""
    rows = drawn(11, 20)
    rows[3] = far
    found = aggregate("geometric_median", rows).update
    assert torch.nn.functional.normalize(rows - found).sum(dim=0).norm() < 1e-6
    assert found.norm() < 2


def test_the_geometric_median_does_not_hang_on_the_unit() -> None:
    """Smoothed by a tenth, short updates have their mean for a median."""
    rows = drawn(9, 5) * torch.arange(1.0, 10.0)[:, None]
    long, short = (aggregate("geometric_median", scale * rows).update for scale in (1, 1e-3))
    assert torch.allclose(short, 1e-3 * long, rtol=1e-4)
    assert (long - rows.mean(dim=0)).norm() > 0.1
    # Who weighs three counts as three.
    weighted = aggregate("geometric_median", rows, weights=[3, *[1] * 8]).update
    copies = aggregate("geometric_median", torch.cat([rows[:1]] * 2 + [rows])).update
    assert torch.allclose(weighted, copies, rtol=1e-4)


def test_a_bucket_of_what_is_finite_is_finite() -> None:
    rows = drawn(11, 4).float()
    rows[:2] = 3e38
    for round in range(20):
        result = aggregate("bucketing", rows, inner="krum", round=round)
        assert result.trust[:2].sum() == 0
        assert result.update.norm() < 10


def test_a_center_that_is_an_update_stays_where_nobody_else_pulls() -> None:
    assert aggregate("centered_clipping", column(0, 0, 0)).update.item() == 0
    # A division by its distance of 0 would be none.
    assert aggregate("centered_clipping", column(0, 3, 0)).update.item() == pytest.approx(1 / 3)


def test_adaptive_clipping_of_a_cohort_counts_the_longest_in_whole_numbers() -> None:
    # (2 · 33 / 242) · 209 is a little less than 57 in floating point.
    n, f = 242, 33
    rows = column(*range(1, n + 1))
    found = aggregate("arc", rows, assumed_compromised=f, inner="mean").update
    clipped = 2 * f * (n - f) // n
    assert found.item() == pytest.approx(rows.clamp(max=n - clipped).mean().item(), rel=1e-12)


@pytest.mark.parametrize(("filtered", "dropped"), [(1.0, 4), (0.6, 3), (1.75, 7)])
def test_dnc_by_singular_vectors_of_drawn_coordinates(filtered: float, dropped: int) -> None:
    """The first column of Vᴴ is no singular vector; what one draw rejects is out."""
    rows, b = drawn(13, 30), 9
    rows[:3] += 1
    source, kept = generator(5, 0, "defense coordinates"), set(range(13))
    for _ in range(3):
        part = rows[:, torch.randperm(30, generator=source)[:b]].numpy()
        centered = part - part.mean(axis=0)
        scores = (centered @ np.linalg.svd(centered)[2][0]) ** 2
        kept &= set(np.argsort(scores)[: 13 - dropped].tolist())
    assert 0 < len(kept) < 13 - dropped
    options = {"assumed_compromised": 4, "niters": 3, "coordinates": b, "filtered": filtered}
    result = aggregate("dnc", rows, seed=5, **options)
    assert set(result.trust.nonzero().flatten().tolist()) == kept
    assert torch.allclose(result.update, rows[sorted(kept)].mean(dim=0))


def test_a_share_of_the_clients_is_rounded_up_from_what_it_is() -> None:
    # 0.28 · 25 is a little more than 7 in floating point.
    votes = torch.tensor([1.0] * 16 + [-1.0] * 9)[:, None]
    assert aggregate("rlr", votes, share=0.28).update > 0


def test_a_level_of_zeroing_moves_by_who_is_below_it_not_below_the_bound() -> None:
    rows = column(2, 21, 22)
    then = aggregate("adaptive_zeroing", rows, history=[rows])
    # A third is below 10.
    assert then.info["zeroing_bound"].item() == pytest.approx(20 * 10 ** (0.98 - 1 / 3) + 1)


@pytest.mark.parametrize(
    ("name", "parameters", "trust"),
    [
        ("cge", {"assumed_compromised": 1}, [1, 1, 0]),
        ("multi_metrics", {"share": 0.4}, [1, 1, 0, 0, 0]),
        ("snowball", {"share": 0.4}, [1, 1, 0, 0, 0]),
        ("multi_krum", {"assumed_compromised": 1, "m": 2}, [1, 1, 0, 0, 0]),
        ("dnc", {"assumed_compromised": 1}, [1, 1, 0]),
    ],
)
def test_of_clients_that_tie_the_first_are_taken(
    name: str, parameters: dict[str, Any], trust: list[float]
) -> None:
    rows = torch.ones(len(trust), 4, dtype=torch.float64)
    assert aggregate(name, rows, **parameters).trust.tolist() == trust
    assert largest(np.array([-1, 1, 1, 0, 0])).tolist() == [False, True, True, False, False]


def test_foolsgold_silences_nobody_who_is_unlike_all() -> None:
    """With a diagonal that is not quite 0, who has no similar peer would divide by it."""
    angles = torch.arange(3).double() * 2 * torch.pi / 3
    apart = torch.stack([angles.cos(), angles.sin()], dim=1) / 3
    assert aggregate("foolsgold", apart).trust.tolist() == [1, 1, 1]
    # A row of 0 is like nobody.
    still = torch.cat([torch.zeros(2, 2).double(), apart])
    assert aggregate("foolsgold", still).trust.tolist() == [1] * 5


def test_foolsgold_takes_nobody_for_a_sybil_of_itself() -> None:
    rows = drawn(5, 200)
    twice = aggregate("foolsgold", rows, clients=[0, 0, 1, 2, 3])
    assert twice.trust[:2].tolist() == [1, 1]


def test_foolsgold_divides_by_weights_by_clients_or_not_and_sharpens() -> None:
    # The first two are alike and silenced.
    rows = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 6, 0], [0, 0, 6]])
    for divide, each in (("weights", 3), ("clients", 1.5), ("sum", 6)):
        found = aggregate("foolsgold", rows, divide=divide).update
        assert found.tolist() == pytest.approx([0, each, each])
    # cos 0.6 of two, a right angle to the third: α = 0.4, κ(ln(0.4/0.6) + ½).
    rows = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]).double()
    for confidence in (1.0, 2.0):
        trust = aggregate("foolsgold", rows, confidence=confidence).trust
        expected = confidence * (np.log(0.4 / 0.6) + 0.5)
        assert trust.tolist() == pytest.approx([expected, expected, 1])


def test_flame_clips_each_by_its_own_norm_whoever_is_rejected_before() -> None:
    rows = torch.tensor([[-30.0, 30], [1, 0.1], [2, 0], [-30, 31], [4, -0.1], [8, 0]]).double()
    result = aggregate("flame", rows, noise=0.0)
    assert result.trust.tolist() == [0, 1, 1, 0, 1, 1]
    bound = (rows[4].norm() + rows[5].norm()) / 2
    assert result.info["bound"] == pytest.approx(bound.item())
    short = rows * (bound / rows.norm(dim=1)).clamp(max=1)[:, None]
    assert torch.allclose(result.update, short[[1, 2, 4, 5]].mean(dim=0))


def test_flame_looks_at_all_layers() -> None:
    rows = torch.ones(5, 6).double() + 0.05 * drawn(5, 6)
    rows[3:, :4] *= -1
    result = aggregate("flame", rows, layers={"a": (2, 2), "b": (2,)}, noise=0.0)
    assert result.trust.tolist() == [1, 1, 1, 0, 0]


def test_half_of_a_cohort_is_no_majority_to_flame() -> None:
    turned = torch.arange(3).double()[:, None] / 100
    half = torch.cat([torch.ones(3, 1).double(), turned], dim=1)
    result = aggregate("flame", torch.cat([half, half.flip(1)]), noise=0.0, on="updates")
    assert result.trust.tolist() == [1] * 6


def test_who_is_far_from_the_centers_is_in_no_cluster_of_sign_guards() -> None:
    share = torch.tensor([0.6, 0.3, 1.0, 0.6, 1.0, 0.0, 0.5, 0.9], dtype=torch.float64)
    kept = mean_shifted(torch.stack([share, 0 * share, 1 - share], dim=1), 0)
    assert kept.tolist() == [True, True, False, True, False, False, True, False]


def test_a_direction_one_deviation_off_is_out_to_align_ins() -> None:
    rows = torch.eye(2).double().repeat_interleave(2, dim=0)
    result = aggregate("align_ins", rows, theta=[1.0, 0.0], sparsity=1.0)
    assert result.info["all_rejected"] == 1


def test_a_norm_one_deviation_off_is_out_to_lasa() -> None:
    rows = torch.eye(2).double().repeat_interleave(2, dim=0)
    options = {"layers": {"a": (1, 1), "b": (1, 1)}, "sparsity": 0.0, "lambda_s": 4.0}
    assert aggregate("lasa", rows, lambda_n=1.0, **options).info["fall_backs"] == 2
    assert aggregate("lasa", rows, lambda_n=1.1, **options).info["fall_backs"] == 0


def test_where_all_are_noise_nobody_is_left_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = drawn(6, 4)
    for name in ("flame", "freqfed"):
        monkeypatch.setattr(f"benchmark.defenses.{name}.densest", lambda *_: torch.zeros(6) > 0)
        result = aggregate(name, rows)
        assert result.update.tolist() == [0] * 4
        assert result.info["all_rejected"] == 1
    kept = aggregate("flame", rows, all_noise="keep", noise=0.0)
    assert kept.trust.tolist() == [1] * 6


def test_k_means_starts_ten_times_from_where_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    plain = clusters.KMeans
    monkeypatch.setattr(
        clusters, "KMeans", lambda count, **how: (told.append(how), plain(count, **how))[1]
    )
    kmeans(drawn(9, 2).numpy(), 3, 41)
    assert told == [{"random_state": 41, "n_init": 10}]


@pytest.mark.parametrize("seed", [2, 4])
def test_rflbat_goes_through_all_of_its_steps(seed: int) -> None:
    """Both bounds, and the cosines of the updates themselves, not of their projections."""
    rows = torch.cat([drawn(9, 6, seed=seed), drawn(6, 6, seed=seed + 50) + 2])
    points = plane(torch.cdist(rows, rows).square())
    unit = torch.nn.functional.normalize(rows)

    def inside(members: Tensor, bound: float) -> Tensor:
        sums = torch.cdist(points[members], points[members]).sum(dim=1)
        return members[sums < bound * sums.quantile(0.5)]

    left, where = inside(torch.arange(15), 1.1), (0, 0, "defense clusters")
    flat = points[left].numpy()
    count = num_clusters(flat, 10, 5, lambda apart: float(apart.sum()), where)
    labels = torch.from_numpy(kmeans(flat, count, random_state(*where))[0])
    parts = [left[labels == label] for label in labels.unique()]
    alike = [(unit[part] @ unit[part].T).mean(dim=1).quantile(0.5) for part in parts]
    expected = inside(parts[int(torch.stack(alike).argmin())], 1.2)
    result = aggregate("rflbat", rows, first=1.1, second=1.2)
    assert result.trust.nonzero().flatten().tolist() == sorted(expected.tolist())


def test_rflbat_may_leave_nobody() -> None:
    """There is no mean to fall back on."""
    result = aggregate("rflbat", drawn(9, 5), first=0.5)
    assert result.update.tolist() == [0] * 5
    assert result.info["all_rejected"] == 1


def test_fl_detector_says_when_a_pair_tells_no_curvature() -> None:
    rows = drawn(4, 3)
    assert aggregate("fl_detector", rows).info["skipped_pair"] == 0
    # The model has not moved.
    assert aggregate("fl_detector", rows, history=[rows]).info["skipped_pair"] == 1
    earlier = {"updates": rows, "theta": [1.0, 0, 0]}
    for step, skipped in ((0.1, 0), (-0.1, 1)):
        now = aggregate("fl_detector", rows + step, history=[earlier])
        assert now.info["skipped_pair"] == skipped


def test_fl_detector_skips_such_a_pair_and_scores_in_shares_of_the_cohort() -> None:
    defense, rows = FlDetector(window=1), drawn(4, 3)
    for k in range(3):
        aggregate(defense, rows + drawn(4, 3, seed=k + 1))
    assert defense.num_pairs == 0
    assert defense.scores.sum().item() == pytest.approx(1)


def test_snowballs_centers_are_a_fifth_of_the_cohort() -> None:
    rows = drawn(13, 6)
    kept = [aggregate("snowball", rows, ct=ct, share=0.4).trust.tolist() for ct in (0, 2, 3)]
    assert kept[0] == kept[2]
    assert kept[0] != kept[1]


def test_losses_that_are_all_the_same_rise_for_nobody() -> None:
    assert rises(torch.full((4,), 0.1)).tolist() == [0] * 4


def test_what_is_too_short_to_be_made_as_long_is_not_trusted_by_fltrust() -> None:
    rows = torch.tensor([[1.0, 0.0], [1e-42, 0.0], [0.5, 0.5]])
    result = aggregate("fltrust", rows, root=[1.0, 0.0])
    assert result.trust.tolist() == pytest.approx([1, 0, 0.5**0.5])
    assert result.update.isfinite().all()


@pytest.mark.parametrize(
    ("name", "least"),
    [("flame", 3), ("freqfed", 3), ("align_ins", 3), ("snowball", 3), ("multi_metrics", 5)],
)
def test_a_cohort_that_is_too_small_is_refused_at_the_start_and_in_the_round(
    name: str, least: int
) -> None:
    rows = drawn(least, 4)
    assert aggregate(name, rows).update.isfinite().all()
    with pytest.raises(ValueError, match=rf"needs {least} clients a round or more, .* {least - 1}"):
        aggregate(name, rows[1:])
    rows[1, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"needs {least} clients or more .* got {least - 1}"):
        aggregate(name, rows)


@pytest.mark.parametrize("name", ["deepsight", "fltrust", "masa", "flare", "backdoor_indicator"])
def test_rules_with_more_than_updates_drop_what_is_not_finite_too(name: str) -> None:
    context = model_context(6, dtype=torch.float64)
    rows = drawn(6, 410) / 50
    bad = torch.cat([rows[:2], torch.full((1, 410), torch.nan).double(), rows[2:]])
    found = []
    for updates in (rows, bad):
        given: dict[str, Any] = {"model": toy_network().double(), "theta": drawn(410, seed=3) / 5}
        if name in ("masa", "flare"):
            given["root"] = (context.workbench.data.images, context.root.labels)  # type: ignore[union-attr]
        elif name == "fltrust":
            given = {"root": drawn(410, seed=4)}
        small = {"images": 20} if name in ("deepsight", "backdoor_indicator") else {}
        found.append(aggregate(name, updates, **given, **small))
    assert torch.allclose(found[1].update, found[0].update)
    assert found[1].trust[[0, 1, 3, 4, 5, 6]].tolist() == found[0].trust.tolist()
    assert found[1].trust[2] == 0


def test_what_does_more_than_aggregate_cannot_be_inside_of_another() -> None:
    """Its other half would not be called, and the defense be the mean."""
    for inner, needed in (("crfl", "deployed"), ("lockdown", "honest_lane"), ("fltrust", "server")):
        with pytest.raises(ValueError, match=rf"Arc hands updates on .* needs its .*{needed}"):
            aggregate("arc", drawn(5, 4), inner=inner)
    with pytest.raises(ValueError, match="CentralDP inside Nnm is not private"):
        aggregate("nnm", drawn(5, 4), inner="central_dp")
    with pytest.raises(ValueError, match="FoolsGold remembers clients, and a bucket is others"):
        aggregate("bucketing", drawn(5, 4), inner="foolsgold")
    with pytest.raises(ValueError, match="Nnm needs clean data of the server's own"):
        aggregate("nnm", drawn(5, 410), inner="flare", model=toy_network().double())


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "mean_around_median", "bulyan"])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_callers_updates_stay_as_they_are(name: str, columns: int) -> None:
    """Also where a row of the transposed block lies together already, and could be sorted there."""
    rows = torch.randn(columns, 9, generator=seeded(), dtype=torch.float64).T
    before = rows.clone()
    aggregate(name, rows)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("name", ["dnc", "rflbat", "snowball", "flame", "geometric_median", "krum"])
def test_what_is_too_long_for_float64_counts_as_not_finite(name: str) -> None:
    rows = torch.randn(9, 12, generator=seeded(), dtype=torch.float64)
    rows[4, 2] = 1e160
    found = aggregate(name, rows, layers=LAYERS_OF_TWELVE)
    assert found.update.isfinite().all()
    assert found.trust is not None
    assert found.trust[4] == 0
    assert found.info["not_finite"] == 1


LAYERS_OF_TWELVE = {"conv.weight": (2, 1, 2, 2), "fc.weight": (2, 1), "fc.bias": (2,)}


def test_no_more_clusters_are_made_than_there_are_points_that_differ() -> None:
    points = np.array([[1e9], [1e9 + 1e-5], [0.0]])
    labels, centers = kmeans(points, 3, 0)
    assert len(centers) == 2
    assert labels[0] == labels[1] != labels[2]


def test_a_zero_where_the_cohort_has_no_sign_agrees_with_it() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert sign_agreement(rows, 2).tolist() == [1.0, 1.0, 0.5]
