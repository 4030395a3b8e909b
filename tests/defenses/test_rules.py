"""Rules by hand, by the traps that others fell into, and by what holds for all of them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmark.config.compose import read_yaml as read
from benchmark.config.compose import resolve
from benchmark.config.instantiate import construct
from benchmark.config.plugins import available
from benchmark.config.types import target_class
from benchmark.defenses.base import DefenseSetting
from benchmark.defenses.foolsgold import FoolsGold, foolsgold_weights
from benchmark.defenses.krum import krum_scores
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import gram, median
from benchmark.testing import aggregate
from benchmark.testing.toys import seeded
from benchmark.utils.errors import UserError

CLASSES = {name: target_class("defense", read("defense", name)) for name in available("defense")}
# What needs more than the updates has tests of its own.
MORE = {"deepsight", "backdoor_indicator"} | {n for n, c in CLASSES.items() if c.needs_root_data}
RULES = {n: c for n, c in CLASSES.items() if issubclass(c, Rule) and n not in MORE}
NAMES = list(RULES)
WITH_F = [n for n in NAMES if "assumed_compromised" in read("defense", n)]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


LINE = column(0, 1, 2, 3, 10)
FOUR = column(1, 2, 3, 10)
SEVEN = column(0, 1, 2, 3, 4, 5, 100)
CROSS = torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [3, 4]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "parameters", "updates", "expected"),
    [
        ("krum", {"assumed_compromised": 1}, LINE, [1]),
        ("multi_krum", {"assumed_compromised": 1}, LINE, [1.5]),
        ("multi_krum", {"assumed_compromised": 1, "m": 2}, LINE, [1.5]),
        ("bulyan", {"assumed_compromised": 1}, SEVEN, [2]),
        ("bulyan", {"assumed_compromised": 1, "selected": "n-2f-2"}, SEVEN, [2]),
        ("median", {}, FOUR, [2.5]),
        ("trimmed_mean", {"assumed_compromised": 1}, FOUR, [2.5]),
        ("trimmed_mean", {"assumed_compromised": 0}, FOUR, [4]),
        ("mean_around_median", {"assumed_compromised": 1}, FOUR, [2]),
        ("mean_around_median", {"assumed_compromised": 1, "around": "trimmed_mean"}, FOUR, [2]),
        ("centered_clipping", {"radius": 2.0}, column(1, 2, 10), [5 / 3]),
        ("centered_clipping", {"radius": 2.0, "steps": 2}, column(1, 2, 10), [20 / 9]),
        ("cge", {"assumed_compromised": 1}, column(3, -1, 2, -50), [4 / 3]),
        ("sign_vote", {"step": 0.5}, torch.tensor([[1.0, 2], [3, -1], [-9, 0]]), [0.5, 0]),
        (
            "dnc",
            {"assumed_compromised": 1},
            torch.tensor([[1, 0], [1.1, 0], [0.9, 0], [5, 0]], dtype=torch.float64),
            [1, 0],
        ),
        ("rlr", {"share": 1.0}, torch.tensor([[1.0, 1], [2, -1], [3, 5]]), [2, -5 / 3]),
        ("nnm", {"assumed_compromised": 1, "inner": "mean"}, column(0, 1, 3, 10), [26 / 12]),
        ("nnm", {"assumed_compromised": 1, "inner": "median"}, column(0, 1, 3, 10), [4 / 3]),
        ("arc", {"assumed_compromised": 1, "inner": "mean"}, FOUR, [9 / 4]),
        ("bucketing", {"assumed_compromised": 0, "inner": "mean", "size": 1}, FOUR, [4]),
        (
            "adaptive_clip",
            {"initial": 5.0, "quantile": 0.5, "rate": 0.2},
            torch.tensor([[3.0, 4], [0, 5], [0, 0], [6, 8]]),
            [1.5, 3.25],
        ),
        ("adaptive_zeroing", {"initial": 10.0}, column(2, 21, 22), [23 / 3]),
        ("foolsgold", {}, torch.tensor([[1.0, 0], [1, 0], [0, 1]]), [0, 1]),
    ],
)
def test_by_hand(
    name: str, parameters: dict[str, Any], updates: Tensor, expected: list[float]
) -> None:
    assert aggregate(name, updates, **parameters).update.tolist() == pytest.approx(expected)


def test_krum_counts_squared_distances_to_others() -> None:
    squared = (LINE - LINE.T).square()
    assert krum_scores(squared, 2).tolist() == [5, 2, 2, 5, 113]
    # Of the two that tie, the lower index.
    assert aggregate("krum", LINE, assumed_compromised=1).trust.tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_krum_and_multi_krum_choose_as_their_definition_does(seed: int) -> None:
    """One neighbor more chooses another client in a quarter of the draws."""
    n, f = 9, 2
    rows = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    scores = []
    for i in range(n):
        others = sorted(float((rows[i] - rows[j]).square().sum()) for j in range(n) if j != i)
        scores.append(sum(others[: n - f - 2]))
    ranked = sorted(range(n), key=scores.__getitem__)
    one = aggregate("krum", rows, assumed_compromised=f)
    some = aggregate("multi_krum", rows, assumed_compromised=f, m=3)
    assert one.trust.nonzero().flatten().tolist() == ranked[:1]
    assert some.trust.nonzero().flatten().tolist() == sorted(ranked[:3])
    assert torch.allclose(some.update, rows[ranked[:3]].mean(dim=0))


def test_multi_krum_in_turn_takes_all_but_twice_f_and_two() -> None:
    # Among 0, 1, 2, 3, 10 one winner, and four are left: 2f + 2.
    one = aggregate("multi_krum", LINE, assumed_compromised=1, selection="iterative")
    assert one.update.tolist() == [1]
    assert one.trust.sum() == 1


def test_bulyan_selects_as_its_paper_or_as_its_authors_later_code() -> None:
    paper = aggregate("bulyan", SEVEN, assumed_compromised=1)
    code = aggregate("bulyan", SEVEN, assumed_compromised=1, selected="n-2f-2")
    assert paper.trust.tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert code.trust.tolist() == [0, 1, 1, 1, 0, 0, 0]


def test_the_geometric_median_is_where_the_pulls_cancel() -> None:
    """The last pulls the first with exactly its weight."""
    found = aggregate("geometric_median", CROSS).update
    objective = (CROSS - found).norm(dim=1).sum()
    assert objective == pytest.approx(CROSS.norm(dim=1).sum().item(), abs=1e-6)


def test_three_steps_of_weiszfeld_are_not_yet_the_geometric_median() -> None:
    updates = torch.randn(9, 20, generator=seeded(), dtype=torch.float64)
    updates[0] *= 50
    z = updates.mean(dim=0)
    for _ in range(3):
        beta = 1 / (updates - z).norm(dim=1)
        z = (beta[:, None] * updates).sum(dim=0) / beta.sum()
    assert torch.allclose(aggregate("geometric_median", updates, steps=3).update, z, atol=1e-10)
    best = aggregate("geometric_median", updates).update
    assert (updates - best).norm(dim=1).sum() < (updates - z).norm(dim=1).sum() - 1e-4
    pulls = torch.nn.functional.normalize(updates - best).sum(dim=0)
    assert pulls.norm() < 1e-4


def test_centered_clipping_starts_at_its_last_output() -> None:
    again = aggregate("centered_clipping", column(1, 2, 10), radius=2.0, history=[column(1, 2, 10)])
    assert again.update.item() == pytest.approx(20 / 9)


def test_the_quantile_is_followed_after_the_round() -> None:
    rows = torch.tensor([[3.0, 4], [0, 5], [0, 0], [6, 8]])
    given = {"initial": 5.0, "quantile": 0.5, "rate": 0.2}
    second = aggregate("adaptive_clip", rows, history=[rows], **given)
    assert second.info["clip_bound"] == pytest.approx(5 * math.exp(-0.05))


def test_buckets_are_drawn_by_round_and_trust_is_of_their_members() -> None:
    rows = column(*range(9))
    drawn = [aggregate("bucketing", rows, inner="krum", size=2, round=t) for t in range(4)]
    for result in drawn:
        # One bucket of two, or the last one that is left over.
        assert result.trust.sum() in (1, 2)
        assert result.update.item() == pytest.approx(rows[result.trust > 0].mean().item())
    assert len({result.update.item() for result in drawn}) > 1


def test_a_rule_inside_another_is_told_the_same_f_and_its_bound_is_kept() -> None:
    rows = torch.randn(9, 4, generator=seeded(), dtype=torch.float64)
    inner = {"name": "trimmed_mean", "assumed_compromised": 0}
    told = aggregate("arc", rows, assumed_compromised=2, inner=inner)
    lengths = rows.norm(dim=1)
    # ⌊2 · 2 · 7 / 9⌋ = 3 are clipped.
    short = rows * (lengths.sort().values[5] / lengths).clamp(max=1)[:, None]
    assert torch.allclose(told.update, short.sort(dim=0).values[2:7].mean(dim=0))
    with pytest.raises(ValueError, match=r"Krum inside Bucketing needs 7 rows .* it would see 5"):
        aggregate("bucketing", rows, assumed_compromised=2, inner="krum")
    with pytest.raises(UserError, match=r"no defense 'krumm' in defense\.inner; did you"):
        aggregate("arc", rows, inner="krumm")


def test_f_is_told_through_to_the_innermost_rule_at_the_start() -> None:
    # With an f of its own, 3, the Krum at the end would want nine rows.
    middle = {"name": "arc", "assumed_compromised": 3, "inner": "krum"}
    rows = torch.randn(7, 4, generator=seeded(), dtype=torch.float64)
    assert aggregate("arc", rows, assumed_compromised=1, inner=middle).trust.sum() == 1


def test_what_is_inside_is_named_never_given_as_a_class() -> None:
    inner = {"name": "krum", "_target_": "os.system", "assumed_compromised": 1}
    section = resolve("defense", "arc", {**read("defense", "arc"), "inner": inner})
    assert section["inner"]["_target_"] == "benchmark.defenses.krum.Krum"


def test_root_data_are_not_taken_and_ignored() -> None:
    with pytest.raises(ValueError, match="Median has no use for root data"):
        aggregate("median", LINE, root=[1.0])


def test_exactly_the_threshold_is_not_flipped() -> None:
    updates = torch.tensor([[1.0], [1.0], [1.0], [-1.0], [-1.0]])
    # The signs sum to 1.
    assert aggregate("rlr", updates, share=0.2).update.item() == pytest.approx(0.2)
    assert aggregate("rlr", updates, share=0.21).update.item() == pytest.approx(-0.2)


def test_foolsgold_remembers_and_pardons() -> None:
    different = torch.tensor([[1.0, 0.0, 0.1], [0.0, 1.0, 0.2], [0.0, 0.1, 1.0]])
    alike = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert aggregate("foolsgold", alike, history=[alike]).trust.tolist() == [0, 0, 1]
    assert aggregate("foolsgold", different).trust.tolist() == [1, 1, 1]
    # In the last round nobody is like another, and the two were alike for long.
    remembered = aggregate("foolsgold", different, history=[10 * alike] * 3)
    assert remembered.trust.tolist() == [0, 0, 1]


def test_foolsgold_keeps_the_output_layer_alone() -> None:
    layers = {"body.weight": (2, 2), "head.weight": (1, 2), "head.bias": (1,)}
    rows = torch.zeros(3, 7)
    rows[:, :4] = torch.tensor([[5.0], [5.0], [-5.0]])
    rows[:, 4:] = torch.eye(3)
    assert aggregate("foolsgold", rows, layers=layers).trust.tolist() == [0, 0, 1]
    own = aggregate("foolsgold", rows, layers=layers, features="output_layer")
    assert own.trust.tolist() == [1, 1, 1]


def test_distances_of_updates_that_lie_far_off_together_are_exact() -> None:
    rows = 1e6 + torch.randn(7, 50, generator=seeded(), dtype=torch.float64)
    near = rows - 1e6
    assert torch.equal(
        aggregate("krum", rows, assumed_compromised=1).trust,
        aggregate("krum", near, assumed_compromised=1).trust,
    )


@given(seed=st.integers(0, 999), n=st.integers(1, 9), P=st.integers(1, 30))
def test_the_gram_matrix_and_the_median_are_what_torch_says(seed: int, n: int, P: int) -> None:
    rows = torch.randn(n, P, generator=seeded(seed), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        assert torch.allclose(gram(rows), rows @ rows.T, atol=1e-12)
        # Beyond a few rows, by panels.
        patch.setattr("benchmark.defenses.blocks.FEW", 0)
        patch.setattr("benchmark.defenses.blocks.PANEL", 4)
        assert torch.allclose(gram(rows), rows @ rows.T, atol=1e-12)
    assert torch.allclose(median(rows), rows.quantile(0.5, dim=0), atol=1e-12)


def cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, value in {"BLOCK": 77, "MEAN_BLOCK": 77, "COLUMNS": 1}.items():
        monkeypatch.setattr(f"benchmark.defenses.blocks.{size}", value)


@pytest.mark.parametrize("name", NAMES)
def test_updates_that_do_not_fit_one_block_are_the_same_to_a_rule(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.randn(11, 30, generator=seeded(), dtype=torch.float64)
    whole = aggregate(name, rows)
    cut_short(monkeypatch)
    parts = aggregate(name, rows)
    assert torch.allclose(parts.update, whole.update, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(11, 500, generator=seeded())
    cut_short(monkeypatch)
    monkeypatch.setattr("benchmark.defenses.base.SMALL", 0)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(aggregate(name, rows).update)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_dropped_and_lowers_f(name: str) -> None:
    rows = torch.randn(11, 30, generator=seeded(), dtype=torch.float64)
    poisoned = torch.cat([rows[:4], torch.full((1, 30), torch.nan), rows[4:]]).double()
    poisoned[4, 0] = torch.inf
    f = {"assumed_compromised": 1} if name in WITH_F else {}
    less = {"assumed_compromised": 0} if name in WITH_F else {}
    result = aggregate(name, poisoned, **f)
    others = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    expected = aggregate(name, rows, clients=others, **less).update
    if name == "central_dp":  # divides by the cohort that was to be, whoever is missing
        expected *= 11 / 12
    assert torch.allclose(result.update, expected, atol=1e-12)
    assert result.trust[4] == 0
    assert result.info["not_finite"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_when_nobody_is_left_the_model_stays(name: str) -> None:
    result = aggregate(name, torch.full((11, 3), torch.nan))
    # What is private tells nobody that all is gone: see tests/defenses/test_server_rules.py.
    assert result.update.tolist() == [0, 0, 0] or name == "central_dp"
    assert result.trust.tolist() == [0] * 11
    assert result.info["all_rejected"] == 1


@pytest.mark.parametrize("name", [name for name in WITH_F if CLASSES[name].min_clients(2) > 1])
def test_too_few_clients_are_refused_with_the_bound(name: str) -> None:
    least = CLASSES[name].min_clients(2)
    rows = torch.randn(least, 4, generator=seeded())
    aggregate(name, rows, assumed_compromised=2)
    with pytest.raises(
        ValueError, match=rf"needs {least} clients .*assumed_compromised = 2.*{least - 1}"
    ):
        aggregate(name, rows[1:], assumed_compromised=2)
    with pytest.raises(ValueError, match="assumed_compromised must be 0 or more, got -1"):
        aggregate(name, rows, assumed_compromised=-1)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_honored_ignored_on_request_or_refused(name: str) -> None:
    rows = torch.randn(11, 6, generator=seeded(), dtype=torch.float64)
    weights = torch.arange(1.0, 12.0)
    if "weights" not in read("defense", name):
        weighted = aggregate(name, rows, weights=weights).update
        assert not torch.allclose(weighted, aggregate(name, rows).update)
        return
    with pytest.raises(ValueError, match="has no place for weights"):
        aggregate(name, rows, weights=weights)
    built = construct(resolve("defense", name, {**read("defense", name), "weights": "ignore"}))
    ignored = aggregate(built, rows, weights=weights).update
    assert torch.allclose(ignored, aggregate(name, rows).update)


def test_foolsgold_remembers_shortened_updates_where_it_is_told_to() -> None:
    """A long round weighs no more than another in a history, but still in the mean."""
    first, then = [[6.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 1.0]]
    for clip, history in ((None, [[6.0, 2.0], [0.0, 2.0]]), (1.0, [[1.0, 1.0], [0.0, 2.0]])):
        defense = FoolsGold(clip_history=clip)
        aggregate(defense, first)
        found = aggregate(defense, then)
        assert defense.histories.tolist() == history
        cosine = torch.tensor(history)
        alike = cosine[0] @ cosine[1] / cosine[0].norm() / cosine[1].norm()
        assert found.trust is not None
        expected = foolsgold_weights(torch.tensor([[1, alike], [alike, 1]]), 1.0)
        assert found.trust.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_foolsgold_refuses_more_histories_than_it_may_keep() -> None:
    with pytest.raises(ValueError, match="at most 4294967296 numbers in all"):
        FoolsGold().setup(DefenseSetting(5000, 10, 1_000_000, 3, ()))
