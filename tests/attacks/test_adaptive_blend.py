"""The adaptive blend against defenses whose best blend can be told by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.adaptive_blend import AdaptiveBlend, BlendSearch
from benchmark.attacks.base import AttackContext, Reaction
from benchmark.defenses.krum import Krum
from benchmark.defenses.norm_clip import NormClip
from benchmark.defenses.norm_reject import NormReject
from benchmark.testing import aggregate, craft
from benchmark.testing.toys import seeded

ALONE = torch.tensor([[[0.0, 1.0], [4.0, 0.0]]], dtype=torch.float64)
HONEST = torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64)


def along(defense: Any, rows: Tensor, honest: Tensor = HONEST) -> float:
    """How far the aggregate goes along the first axis."""
    return float(aggregate(defense, torch.cat([rows, honest])).update[0])


def test_where_all_is_averaged_it_is_replacement() -> None:
    assert craft("adaptive_blend", ALONE, honest=HONEST, defense="mean").tolist() == [[16, 0]]
    # two share K/M = 5/2 each
    two = craft("adaptive_blend", ALONE.repeat(2, 1, 1), honest=HONEST, defense="mean")
    assert two.tolist() == [[10, 0]] * 2


def test_clipping_takes_no_more_than_its_bound() -> None:
    found = craft("adaptive_blend", ALONE, honest=HONEST, defense=NormClip(2.0))
    assert found.tolist() == [[4, 0]]  # longer is no gain
    assert along(NormClip(2.0), found) == pytest.approx(2 / 4)
    # the bound is longer than the update
    found = craft("adaptive_blend", ALONE, honest=HONEST, defense=NormClip(10.0))
    assert along(NormClip(10.0), found) == pytest.approx(10 / 4)


@pytest.mark.parametrize("bound", [1.2, 3.0, 6.0])
def test_it_stays_as_long_as_is_not_rejected(bound: float) -> None:
    """At a = 1 where the update must be shortened, and by its length where it may be longer."""
    found = craft("adaptive_blend", ALONE, honest=HONEST, defense=NormReject(bound))
    assert found.norm() <= bound
    assert found[0, 0] > 0.9 * bound


def test_krum_is_given_what_it_still_picks() -> None:
    """Scores of two neighbors: 2 + 2x² of (x, 0), 5 + x² of (0, 1); the least up to x = √3."""
    honest = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 3.0], [0.0, -3.0]]).double()
    lanes = torch.tensor([[[0.0, 0.0], [4.0, 0.0]]]).double()
    found = craft("adaptive_blend", lanes, honest=honest, defense=Krum(1))
    assert along(Krum(1), found, honest) == found[0, 0]
    assert 3**0.5 - 4 / 32 <= found[0, 0] <= 3**0.5


def test_the_median_moves_as_far_as_honest_updates_spread() -> None:
    honest = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]).double()
    lanes = torch.tensor([[[-3.0, 0.0], [8.0, 0.0]]]).double()
    found = craft("adaptive_blend", lanes, honest=honest, defense="median")
    assert along("median", found, honest) == 1  # of five values, the crafted one the largest


def test_all_of_a_round_submit_a_blend_of_their_own_of_one_share_and_length() -> None:
    lanes = torch.randn(2, 2, 5, generator=seeded(), dtype=torch.float64)
    honest = torch.randn(6, 5, generator=seeded(1), dtype=torch.float64)
    found = craft("adaptive_blend", lanes, honest=honest, defense=Krum(2))
    mean = honest.mean(dim=0)
    parts = [torch.stack([*lanes[j], mean], dim=1) for j in range(2)]
    shares = [torch.linalg.lstsq(parts[j], found[j][:, None]).solution for j in range(2)]
    assert torch.allclose(shares[0], shares[1])
    assert shares[0][1] > 0


def told(answer: Any, M: int = 1) -> AttackContext:
    boosts = torch.full((M,), 4.0)
    return AttackContext(round=0, seed=0, start=torch.zeros(2), boosts=boosts, simulate=answer)


def test_where_nothing_is_accepted_or_gained_it_is_honest() -> None:
    for trust in (torch.zeros(1), None):
        attack = AdaptiveBlend()
        found = attack.craft(ALONE, told(lambda rows, t=trust: Reaction(torch.zeros(2), t)))
        assert torch.equal(found, ALONE[:, 0])
    lanes = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    assert craft("adaptive_blend", lanes, honest=HONEST, defense="mean").tolist() == [[1, 2]]


@pytest.mark.parametrize("defense", ["mean", "krum", "median", "norm_clip", "norm_reject"])
def test_it_asks_no_more_than_twenty_times(defense: str) -> None:
    count = 0

    def asked(rows: Tensor) -> Reaction:
        nonlocal count
        count += 1
        found = aggregate(defense, torch.cat([rows, honest]))
        return Reaction(found.update, None if found.trust is None else found.trust[:1])

    honest = torch.randn(7, 2, generator=seeded(1), dtype=torch.float64)
    AdaptiveBlend().craft(ALONE, told(asked))
    assert 2 <= count <= 20


def test_it_needs_a_defense() -> None:
    with pytest.raises(ValueError, match="there is none to ask"):
        craft("adaptive_blend", ALONE, honest=HONEST)
    with pytest.raises(ValueError, match="base must be one of boosted, data_poisoning, neurotoxin"):
        AdaptiveBlend("none")  # type: ignore[arg-type]


def searched(peak: float, bound: float = 1.0, **given: Any) -> tuple[float, float, int]:
    """Along 1 − |x − peak|, accepted up to a bound: best place, its value, number of questions."""

    def answer(rows: Tensor) -> Reaction:
        x = float(rows[0, 0])
        return Reaction(torch.tensor([1 - abs(x - peak)]), torch.tensor([float(x <= bound)]))

    search = BlendSearch(answer, torch.ones(1, 1), torch.zeros(1, 1))
    best = search.along(lambda x: torch.tensor([[x]]), 7, near=search.start, **given)
    return best, search.most, 19 - search.left


def test_bisection_finds_a_bound_an_end_and_a_peak() -> None:
    assert searched(1.0) == (1.0, 1.0, 2)
    assert searched(1.0, bound=0.3) == (0.296875, 0.296875, 7)
    assert searched(0.625) == (0.625, 1.0, 7)
    assert searched(-1.0) == (0.0, 0.0, 7)
    assert searched(1.0, bound=0.3, knows_far=True)[0] == 0.296875


def test_it_hides_in_the_mean_of_all_where_its_own_honest_update_is_not_picked() -> None:
    """Krum takes what is nearest to its neighbors: an outlier's blend never is."""
    around = [[-0.7, -0.7], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.7, -0.7]]
    honest = torch.tensor(around, dtype=torch.float64) - torch.tensor([0.0, 3.0])
    lanes = torch.tensor([[[0.0, 9.0], [4.0, 9.0]]], dtype=torch.float64)
    found = craft("adaptive_blend", lanes, honest=honest, defense=Krum(1))
    assert aggregate(Krum(1), torch.cat([found, honest])).trust.tolist() == [1, *[0] * 6]
    offset, toward = found[0] - honest.mean(dim=0), lanes[0, 1] - honest.mean(dim=0)
    assert torch.allclose(offset / offset.norm(), toward / toward.norm())
