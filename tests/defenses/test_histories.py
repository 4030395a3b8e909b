"""FreqFed, FLDetector and Snowball: by hand, and by the traps that others fell into."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.fft import dct, dctn, idctn
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseSetting
from benchmark.defenses.centered_clipping import CenteredClipping
from benchmark.defenses.curvature import LBfgs
from benchmark.defenses.fl_detector import FlDetector
from benchmark.defenses.freqfed import low_frequencies
from benchmark.defenses.snowball import coordinates, ends, votes
from benchmark.engine.client import Layer
from benchmark.testing import aggregate
from benchmark.testing.toys import defense_context, seeded


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_low_frequencies_are_of_the_matrix_and_below_its_diagonal() -> None:
    layers = (
        Layer("conv.weight", slice(0, 48), (6, 2, 2, 2)),
        Layer("conv.bias", slice(48, 54), (6,)),
    )
    flat = drawn(54)
    matrix = flat[:48].numpy().reshape(6, 8)
    both = dct(dct(matrix, axis=0, norm="ortho"), axis=1, norm="ortho")
    # Halves 3 and 4, i + j ≤ 3.5: rows of 4, 3 and 2.
    expected = [*both[0, :4], *both[1, :3], *both[2, :2]]
    # A bias is one column: halves 3 and 1, i ≤ 2.
    expected += [*dct(flat[48:].numpy(), norm="ortho")[:3]]
    assert low_frequencies(flat, layers).tolist() == pytest.approx(expected)


def test_freqfed_clusters_models_by_their_low_frequencies_alone() -> None:
    layers = {"weight": (4, 8)}
    smooth, rough = np.zeros((4, 8)), np.zeros((4, 8))
    smooth[1, 1] = rough[3, 7] = 5
    smooth, rough = (torch.from_numpy(idctn(x, norm="ortho")) for x in (smooth, rough))
    rows = torch.stack([torch.ones(4, 8)] * 5).double()
    rows += 0.05 * drawn(5, 4, 8)
    rows[0] += 5 * rough
    rows[4] += 5 * smooth
    result = aggregate("freqfed", rows.flatten(1), layers=layers)
    assert result.trust[0] == 1
    assert result.trust[4] == 0
    assert torch.allclose(result.update, rows[result.trust > 0].mean(dim=0).flatten())
    # Of models: beside a large one, an update the other way hardly turns it.
    other = torch.ones(6, 32).double() + 0.05 * drawn(6, 32)
    other[0] = other[1:].mean(dim=0) - 2
    theta = 100 * torch.ones(32).double()
    assert aggregate("freqfed", other, layers=layers).trust[0] == 0
    assert aggregate("freqfed", other, layers=layers, theta=theta).trust[0] == 1


@pytest.mark.parametrize("shape", [(6, 70, 1), (80, 5), (1100, 3), (7,), ()])
def test_low_frequencies_are_those_of_scipys_transform_in_either_precision(
    shape: tuple[int, ...],
) -> None:
    layer = Layer("weight", slice(0, math.prod(shape)), shape)
    values = drawn(math.prod(shape))
    both = dctn(values.reshape(shape[0] if shape else 1, -1).numpy(), norm="ortho")
    high, wide = (max(side // 2, 1) for side in both.shape)
    places = [(i, j) for i in range(high) for j in range(wide) if i + j <= (high + wide) / 2]
    found = low_frequencies(values, (layer,))
    assert torch.allclose(found, torch.tensor([both[place] for place in places]), atol=1e-12)
    rough = low_frequencies(values.float(), (layer,))
    assert rough.dtype == torch.float32
    assert torch.allclose(rough.double(), found, atol=1e-5)


def test_freqfeds_port_looks_at_the_last_weights_alone() -> None:
    layers = {"a.weight": (2, 4), "b.weight": (2, 4), "b.bias": (2,)}
    rows = torch.ones(6, 18).double() + 0.05 * drawn(6, 18)
    rows[4:, :8] *= -1
    rows[4:, 16:] *= -5
    assert aggregate("freqfed", rows, layers=layers).trust.tolist() == [1, 1, 1, 1, 0, 0]
    rows[4:, 8:16] = rows[:2, 8:16]
    port = aggregate("freqfed", rows, layers=layers, reading="port")
    assert port.trust[4:].tolist() == port.trust[:2].tolist()
    with pytest.raises(ValueError, match="needs a tensor of two axes"):
        aggregate("freqfed", rows, reading="port")


def test_the_hessian_of_two_pairs_by_hand() -> None:
    moves, changes = torch.eye(2), torch.diag(torch.tensor([2.0, 3.0]))
    found = LBfgs(moves, changes).times(torch.tensor([1.0, 1.0]))
    assert found.tolist() == pytest.approx([2, 3])
    assert LBfgs(moves[:0], changes[:0]).times(torch.ones(2)).tolist() == [0, 0]


def test_the_hessian_maps_the_last_move_to_its_change_and_is_bfgs_of_the_pairs() -> None:
    moves, root = drawn(4, 9), drawn(9, 9, seed=1)
    changes = moves @ (root @ root.T)
    expected = (moves[-1] @ changes[-1]) / (moves[-1] @ moves[-1]) * torch.eye(9).double()
    for s, y in zip(moves, changes, strict=True):
        along = expected @ s
        expected = expected - along.outer(along) / (s @ along) + y.outer(y) / (y @ s)
    vector = drawn(9, seed=2)
    found = LBfgs(moves, changes)
    assert torch.allclose(found.times(vector), expected @ vector)
    assert torch.allclose(found.times(moves[-1]), changes[-1])


def test_pairs_that_curve_down_or_not_at_all_are_not_sound() -> None:
    moves, root = drawn(3, 9), drawn(9, 9, seed=1)
    changes = moves @ (root @ root.T)
    across = changes[:1] - (changes[0] @ moves[0]) / (moves[0] @ moves[0]) * moves[:1]
    assert LBfgs(moves, changes).is_sound
    assert not LBfgs(moves, torch.cat([changes[:2], -changes[2:]])).is_sound
    assert not LBfgs(moves[:1], moves[:1] * 1e-20 + across).is_sound
    assert not LBfgs(torch.zeros(1, 9), torch.zeros(1, 9)).is_sound


K, P, WINDOW = 8, 3, 3
# Alike in all directions: then L-BFGS is exact from the first pair.
CURVATURE = 2 * torch.eye(P, dtype=torch.float64)


def quadratic(
    defense: FlDetector, cohorts: list[list[int]], liars: int, since: int = 0
) -> list[Aggregation]:
    """Rounds of clients whose updates are linear in θ, but of the first ``liars``, who draw."""
    context = defense_context(P, K)
    defense.setup(DefenseSetting(K, len(cohorts[0]), P, len(cohorts), context.layers))
    theta, wanted, results = torch.ones(P).double(), 0.1 * drawn(K, P), []
    # Who is there makes no difference to the mean.
    wanted[5:] = wanted[:5].mean(dim=0)
    for t, clients in enumerate(cohorts):
        updates = -(theta - wanted) @ CURVATURE
        if t >= since:
            updates[:liars] += drawn(K, P, seed=10 + t)[:liars]
        who = torch.tensor(clients)
        shares = torch.full((len(who),), 1 / len(who), dtype=torch.float64)
        now = replace(context, round=t, theta=theta, clients=who)
        results.append(defense.aggregate(updates[who], shares, now))
        theta = defense.after_round(theta + 0.3 * results[-1].update, now)
    return results


EVERYBODY = list(range(K))


def test_fl_detector_excludes_for_good_who_sends_what_nothing_predicts() -> None:
    defense = FlDetector(window=WINDOW)
    results = quadratic(defense, [EVERYBODY] * 9, liars=2)
    for before in results[: WINDOW + 1]:
        assert before.trust.tolist() == [1] * K
    assert results[WINDOW + 1].trust.tolist() == [0, 0] + [1] * 6
    assert results[WINDOW + 1].info["excluded"] == 2
    assert all(after.trust[:2].tolist() == [0, 0] for after in results[WINDOW + 1 :])


def test_fl_detector_predicts_from_each_clients_own_last_round() -> None:
    """With the last round of the federation instead, who was away is taken for a liar."""
    most = [0, 1, 2, 3, 4]
    cohorts = [EVERYBODY, most, most, most, EVERYBODY]
    liars = quadratic(FlDetector(window=WINDOW), cohorts, liars=2, since=WINDOW + 1)
    assert liars[-2].trust.tolist() == [1] * 5
    assert liars[-1].trust.tolist() == [0, 0] + [1] * 6


def test_a_restart_begins_again_and_remembers_only_whom_it_excluded() -> None:
    defense = FlDetector(window=WINDOW, restart=True)
    results = quadratic(defense, [EVERYBODY] * (WINDOW + 2), liars=2)
    assert results[-1].trust.tolist() == [0, 0] + [1] * 6
    assert defense.excluded.tolist() == [True, True] + [False] * 6
    assert defense.num_scores.sum() == defense.scores.sum() == defense.visits.sum() == 0
    assert defense.rounds_seen == defense.num_pairs == 0
    assert not defense.restarting
    assert defense.initial.tolist() == [1, 1, 1]
    other = FlDetector(window=WINDOW, restart=True)
    longer = quadratic(other, [EVERYBODY] * (WINDOW + 3), liars=2)
    # The model went back to the first one.
    first = quadratic(FlDetector(window=WINDOW), [EVERYBODY[2:]], liars=2)
    assert torch.allclose(longer[-1].update, first[0].update)


def test_fl_detectors_excluded_belong_to_one_object() -> None:
    one, other = FlDetector(window=WINDOW), FlDetector(window=WINDOW)
    quadratic(one, [EVERYBODY] * (WINDOW + 2), liars=2)
    quadratic(other, [EVERYBODY], liars=0)
    assert one.excluded.sum() == 2
    assert other.excluded.sum() == 0


def test_fl_detector_says_when_it_cannot_remember_all() -> None:
    context = defense_context(P, K)
    with pytest.raises(ValueError, match="3000 users of 1000000 parameters are too many"):
        FlDetector().setup(DefenseSetting(3000, 30, 1000000, 1, context.layers))


def test_snowball_votes_are_those_of_differences() -> None:
    rows, ct = drawn(9, 14), 3
    total = np.zeros(9)
    weights, members = [], []
    for i in range(9):
        differences = (rows[i] - rows).numpy()
        far = np.argsort(-np.linalg.norm(differences, axis=1))[:ct]
        starts = differences[[i, *far]]
        labels = KMeans(ct + 1, init=starts, n_init=1).fit(differences).labels_
        weights.append(calinski_harabasz_score(differences, labels))
        members.append(labels == labels[i])
    scaled = (np.array(weights) - min(weights)) / np.ptp(weights)
    for weight, own in zip(scaled, members, strict=True):
        total += weight * own
    assert votes(coordinates(rows), ct) == pytest.approx(total)
    elected = np.argsort(-total, kind="stable")[:3]  # ⌈0.3 · 9⌉
    result = aggregate("snowball", rows, ct=ct, share=0.3)
    assert result.trust.nonzero().flatten().tolist() == sorted(elected)


def test_snowball_looks_at_both_ends_of_the_model() -> None:
    names = ["fc.weight", "conv1.weight", "conv1.bias", "conv2.weight", "out.weight", "out.bias"]
    layers = tuple(
        Layer(name, slice(k, k + 1), (1,), name.endswith("v1.weight"), name.startswith("out"))
        for k, name in enumerate(names)
    )
    assert [layer.name for layer in ends(layers)] == [
        "conv1.weight", "conv1.bias", "out.weight", "out.bias",
    ]  # fmt: skip
    flat = tuple(replace(layer, is_convolution=False) for layer in layers)
    assert [layer.name for layer in ends(flat)] == ["fc.weight", "out.weight", "out.bias"]


def test_snowball_refuses_fewer_than_its_centers_and_one_more_and_too_many() -> None:
    with pytest.raises(ValueError, match="once for each client, at most 300; got 301"):
        aggregate("snowball", drawn(301, 3))
    with pytest.raises(ValueError, match="needs 7 clients or more for ct = 5, got 6"):
        aggregate("snowball", drawn(6, 3), ct=5)
    with pytest.raises(ValueError, match="share must be above 0"):
        aggregate("snowball", drawn(6, 3), share=0.0)


def test_the_state_of_a_built_defense_goes_on_from_call_to_call() -> None:
    """What is made in ``setup`` is not made anew."""
    built, rows = CenteredClipping(radius=2.0), [[1.0], [2.0], [10.0]]
    found = [aggregate(built, rows).update.item() for _ in range(2)]
    assert found == pytest.approx([5 / 3, 20 / 9], abs=1e-6)
