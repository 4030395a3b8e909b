"""Untargeted attacks against hand computations, and what is easily done wrong."""

from collections import Counter
from statistics import NormalDist
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks import colluding
from benchmark.attacks.agr_tailored import maximized
from benchmark.attacks.alie import Alie, supported_z
from benchmark.attacks.base import AttackSetting, CompromisedClient
from benchmark.attacks.deviation import halved
from benchmark.attacks.label_flip import LabelFlip
from benchmark.engine.client import layers_of
from benchmark.engine.plan import Examples
from benchmark.federation.participation import RandomSampling
from benchmark.testing import aggregate, craft
from benchmark.testing.toys import seeded
from tests.support.toys import fit, make_federation

ROWS = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]], dtype=torch.float64)
OWN = torch.tensor([[9.0, -9.0], [7.0, 5.0]], dtype=torch.float64)
THREE = torch.tensor([[1.0, -2, 3], [2, -1, -1], [3, -3, 1]], dtype=torch.float64)
KNOWING = ("ipm", "alie", "min_max", "min_sum")


def close(found: Tensor, *expected: float, within: float = 1e-3) -> bool:
    """Whether all submit this."""
    return all(row.tolist() == pytest.approx(expected, abs=within) for row in found)


def test_sign_flipping_is_of_each_ones_own_update_or_of_the_mean() -> None:
    assert craft("sign_flip", [[1.0, -3.0]], scale=2.0).tolist() == [[-2, 6]]
    assert craft("sign_flip", OWN, honest=ROWS).tolist() == (-OWN).tolist()
    assert craft("sign_flip", OWN, honest=ROWS, form="mean", scale=2.0).tolist() == [[-4, -2]] * 2


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("ipm", {}, (-0.2, -0.1)),
        ("ipm", {"epsilon": 2.0}, (-4, -2)),
        ("ipm", {"known": "own"}, (-0.8, 0.2)),
        ("alie", {}, (0.775, -1.121)),
        ("alie", {"ddof": 1}, (0.5, -1.598)),
        ("alie", {"sign": "plus"}, (3.225, 3.121)),
        ("alie", {"known": "own", "z": 1.0}, (7, -9)),
        ("min_max", {"direction": "unit"}, (0.468, 0.234)),
        ("min_max", {}, (1.366, -0.098)),
        ("min_max", {"direction": "sign"}, (1, 0)),
        ("min_sum", {"direction": "unit"}, (0.735, 0.368)),
        ("min_sum", {"direction": "unit", "reading": "text"}, (0.211, 0.106)),
        ("min_sum", {}, (2 - 0.5**0.5, 1 - 1.5**0.5)),
        ("min_sum", {"direction": "sign"}, (1, 0)),
    ],
)
def test_by_hand(name: str, parameters: dict[str, Any], expected: tuple[float, float]) -> None:
    assert close(craft(name, OWN, honest=ROWS, **parameters), *expected)
    if "min" in name:
        searched = craft(name, OWN, honest=ROWS, solver="search", **parameters)
        assert close(searched, *expected)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alie", {}),
        ("alie", {"ddof": 1}),
        *(
            (name, {"direction": direction, "solver": solver})
            for name in ("min_max", "min_sum")
            for direction in ("unit", "std", "sign")
            for solver in ("closed", "search")
        ),
    ],
)
@pytest.mark.parametrize("row", [[1.0, -2.0], [0.0, 0.0]])
@pytest.mark.parametrize("count", [1, 4])
def test_of_one_known_update_or_equal_ones_it_is_theirs(
    name: str, parameters: dict[str, Any], row: list[float], count: int
) -> None:
    assert craft(name, OWN, honest=[row] * count, **parameters).tolist() == [row] * 2


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", ["unit", "sign"])
def test_from_a_mean_of_0_no_direction_leads_away(name: str, direction: str) -> None:
    rows = torch.tensor([[1.0, -2.0], [-2.0, 3.0], [1.0, -1.0]])
    assert craft(name, OWN.float(), honest=rows, direction=direction).tolist() == [[0, 0]] * 2


def test_the_published_search_stops_short_and_below_20() -> None:
    found = halved(lambda gamma: gamma <= 3.14159)
    assert 3.14159 - 2e-5 < found <= 3.14159
    assert 19.9999 < halved(lambda gamma: True) < 20
    assert halved(lambda gamma: False) == 0
    # γ of many parameters is smaller than it can tell.
    rows = torch.randn(5, 4000, generator=seeded(), dtype=torch.float64) * 1e-5
    for name in ("min_max", "min_sum"):
        closed, searched = (
            craft(name, rows[:1], honest=rows, direction="sign", solver=solver)
            for solver in ("closed", "search")
        )
        assert (closed - searched).norm() > 0.1 * closed.norm()


def test_of_one_known_update_too_large_for_the_search_the_closed_form_goes_on() -> None:
    far = [[0.0, 1.0], [1000.0, 1.0]]
    assert close(craft("min_max", OWN, honest=far, direction="unit", solver="search"), 480, 0.96,
                 within=0.1)  # fmt: skip
    assert close(craft("min_sum", OWN, honest=far, direction="unit"), 0, 0)


@pytest.mark.parametrize("name", [*KNOWING, "fang"])
def test_columns_are_taken_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(6, 7, generator=seeded(), dtype=torch.float64)
    rule = {"rule": "krum"} if name == "fang" else {}
    whole = craft(name, rows[:2], honest=rows[2:], **rule)
    monkeypatch.setattr(colluding, "BLOCK", 3)
    parted = craft(name, rows[:2], honest=rows[2:], **rule)
    assert torch.allclose(whole, parted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", [*KNOWING, "mimic", "fang", "agr_tailored"])
def test_who_knows_no_honest_update_is_refused_and_where_none_is_honest_the_own_are_known(
    name: str,
) -> None:
    defense = {"defense": "mean"} if name == "agr_tailored" else {}
    otherwise = {"mimic": "$", "fang": ", or known=partial$"}.get(name, ", or known=own$")
    with pytest.raises(ValueError, match=f"needs the honest updates of the round{otherwise}"):
        craft(name, OWN, **defense)
    found = craft(name, OWN, honest=[[1.0, 2.0]], **defense)
    assert found.isfinite().all()


def test_the_shift_that_supporters_allow() -> None:
    normal = NormalDist()
    assert supported_z(50, 12) == pytest.approx(normal.inv_cdf(24 / 38))
    assert [round(supported_z(*x), 4) for x in ((50, 12), (30, 6))] == [0.336, 0.2104]
    assert round(supported_z(10, 1), 2) == -0.14
    assert supported_z(10, 2) == supported_z(9, 1) == 0
    rows = torch.randn(24, 3, generator=seeded(), dtype=torch.float64)
    found = craft("alie", rows[:6], honest=rows, z=None)
    expected = rows.mean(0) - supported_z(30, 6) * rows.std(0, correction=0)
    assert torch.allclose(found, expected.expand(6, 3))


@pytest.mark.parametrize(("honest", "own"), [(4, 6), (4, 5), (0, 1)])
def test_no_shift_is_allowed_to_a_majority(honest: int, own: int) -> None:
    rows = torch.ones(honest + own, 2)
    with pytest.raises(ValueError, match=f"z of the formula is infinite for {own} compromised"):
        craft("alie", rows[:own], honest=rows[own:] if honest else None, known="own", z=None)


def test_in_a_federation_the_number_of_compromised_varies_and_nothing_stops() -> None:
    federation = make_federation(
        attack=Alie(z=None), participation=RandomSampling(0.6), clients_per_round=4, rounds=4
    )
    fit(federation)
    assert federation.theta.isfinite().all()


def test_noise_comes_from_the_seed_and_is_the_same_for_all() -> None:
    own = torch.zeros(2, 5000)
    first, again, other, later = (
        craft("gaussian_noise", own, seed=seed, round=t)
        for seed, t in ((1, 0), (1, 0), (2, 0), (1, 3))
    )
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, other)
    assert not torch.equal(first, later)
    assert first.std() == pytest.approx(1, abs=0.05)
    assert torch.allclose(craft("gaussian_noise", own, seed=1, sigma=0.5), first / 2)


def test_noise_around_the_mean_is_as_long_as_what_each_trained() -> None:
    honest = torch.tensor([[1.0, 5.0], [3.0, 5.0]]).repeat(1, 2000)
    own = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).repeat(1, 2000)
    found = craft("gaussian_noise", own, honest=honest, form="around")
    assert torch.allclose(found.norm(dim=1), own.norm(dim=1))
    shape = found[0] / found[0, 1] * 5
    assert shape[1::2].tolist() == pytest.approx([5.0] * 2000)
    assert (shape[::2].mean(), shape[::2].std()) == pytest.approx((2, 1), abs=0.1)
    assert craft("gaussian_noise", 0 * own, honest=0 * honest, form="around").abs().max() == 0


CLIENT = CompromisedClient(
    Examples(torch.arange(6), torch.tensor([0, 1, 1, 4, 2, 3])), 2, 4, seed=0, round=3, slot=1
)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, [4, 3, 3, 0, 2, 1]), ({"source": 1, "target": 4}, [0, 4, 4, 4, 2, 3])],
)
def test_labels_are_mirrored_or_one_class_is_another(
    parameters: dict[str, int], expected: list[int]
) -> None:
    attack = LabelFlip(**parameters)
    attack.setup(AttackSetting(9, 3, 12, 2, layers_of({"0.weight": (7,), "1.bias": (5,)})))
    (lane,) = attack.lanes(CLIENT, CLIENT.local, 3.0)
    honest = CLIENT.honest_lane()
    assert torch.equal(lane.indices, honest.indices)
    rows = zip(lane.indices, lane.labels, lane.sizes, strict=True)
    pairs = Counter(p for i, y, n in rows for p in zip(i[:n].tolist(), y[:n].tolist(), strict=True))
    assert pairs == Counter(dict.fromkeys(enumerate(expected), 2))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"source": 1}, "source and target go together, got 1 and None"),
        ({"source": -1, "target": 1}, "source must be at least 0"),
        ({"source": 5, "target": 1}, "source must be 0 to 4, got 5"),
    ],
)
def test_a_class_that_there_is_not_is_refused(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        craft("label_flip", torch.ones(1, 5), layers={"bias": (5,)}, **parameters)


FOUR = torch.tensor([[3.0, 0, 0], [-1, 0.1, 0], [-1, -0.1, 0], [-2, 0.2, 0.5]]).double()
"""Around a mean of (-0.25, 0.05, 0.125) they differ along the first axis."""


def test_the_target_is_a_user_who_is_repeated_as_long_as_he_is_there() -> None:
    first = {"updates": FOUR[:2], "honest": FOUR, "clients": [8, 9, 0, 1, 2, 3]}
    chosen = craft("mimic", **first)
    user = (chosen[0] == FOUR).all(dim=1).nonzero().item()
    assert user in (0, 3)
    moved = torch.arange(12.0).view(4, 3).double()
    users = [3, 2, 1, 0]
    later = craft("mimic", FOUR[:2], honest=moved, clients=[8, 9, *users], history=[first])
    assert torch.equal(later, moved[users.index(user)].expand(2, 3))


def test_without_the_target_it_is_who_lies_furthest_and_the_target_stays() -> None:
    first = {"updates": FOUR[:2], "honest": FOUR, "clients": [8, 9, 0, 1, 2, 3]}
    away = {"updates": FOUR[:2], "honest": FOUR, "clients": [8, 9, 4, 5, 6, 7]}
    assert torch.equal(craft("mimic", history=[first], **away), craft("mimic", **first))
    again = craft("mimic", history=[first, away], **first)
    assert torch.equal(again, craft("mimic", **first))


def test_mimic_by_hand() -> None:
    # One axis: z is ±1 by the sign of the first draw of seed 0, wherever the mean is.
    rows = torch.tensor([[1.0], [5.0], [-3.0]])
    sign = torch.randn(1, generator=torch.Generator().manual_seed(0)).sign().item()
    expected = 5.0 if sign > 0 else -3.0
    assert craft("mimic", rows[:1], honest=rows).tolist() == [[expected]]
    # Rows that are equal pull nowhere: z stays.
    equal = torch.ones(3, 1)
    assert craft("mimic", rows[:1], honest=rows, history=[{"updates": rows[:1], "honest": equal}],
                 warmup=5).tolist() == [[expected]]  # fmt: skip
    assert craft("mimic", rows[:2], honest=rows, mode="fixed", index=4).tolist() == [[5.0]] * 2


def test_directed_deviation_by_hand_is_over_all_that_was_trained() -> None:
    for own in (1, 2, 3):
        found = craft("fang", THREE[:own], honest=THREE[own:] if own < 3 else THREE)
        assert found.tolist() == [[0.5, -0.5, -2]] * own
    assert craft("fang", [[1.0, -1.0]], honest=[[-1.0, 1.0]], rule="median").tolist() == [[0, 0]]


def test_the_text_scales_weights() -> None:
    start = torch.tensor([10.0, -10.0, 0.0]).double()
    found = craft("fang", THREE[:1], honest=THREE[1:], scaled="weights", start=start)
    assert found.tolist() == [[11 / 2 - 10, -11 / 2 + 10, -2]]


@pytest.mark.parametrize("draw", ["code", "paper"])
def test_drawn_deviations_lie_between_the_edge_and_twice_as_far(draw: str) -> None:
    rows = torch.randn(5, 400, generator=seeded(), dtype=torch.float64)
    found = craft("fang", rows[:2], honest=rows[2:], draw=draw, seed=3)
    least = craft("fang", rows[:2], honest=rows[2:])[0]
    edge = torch.where(rows.sum(0) > 0, rows.amin(0), rows.amax(0))
    share = (found - edge) / (least - edge)
    assert ((share >= 0) & (share <= 1)).all()
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, craft("fang", rows[:2], honest=rows[2:], draw=draw, seed=3))


def test_partial_knowledge_is_of_what_the_compromised_trained() -> None:
    mean, spread = OWN.mean(0), OWN.std(0, correction=0)
    found = craft("fang", OWN, known="partial")
    assert close(found, *(mean - 3.5 * spread * mean.sign()).tolist(), within=1e-12)
    drawn = craft("fang", OWN, known="partial", draw="paper")
    share = (mean - drawn) / (spread * mean.sign())
    assert ((share >= 3) & (share <= 4)).all()


def test_krum_is_led_against_the_sign_from_a_first_length_that_is_stated() -> None:
    # K 9, M 3: K - 2M - 1 = 2, and the 4 nearest of -0.5 lie 1, 1, 2 and 2 away.
    honest = [[-2.5], [-1.5], [-0.5], [0.5], [1.5], [3.5]]
    for reading, first in (("derived", 5**0.5 + 3.5), ("code", 6 / 2 + 3.5)):
        found = craft("fang", [[3.0]] * 3, honest=honest, rule="krum", first=reading)
        steps = torch.log2(-first / found[0, 0]).item()
        assert steps == pytest.approx(round(steps), abs=1e-6)
        submitted = [torch.cat([scale * found, torch.tensor(honest)]) for scale in (1, 2)]
        now, before = (aggregate("krum", x, assumed_compromised=3).update for x in submitted)
        assert now.item() == found[0, 0].item() < 0
        assert before.item() != 2 * found[0, 0].item()


def test_where_krum_picks_none_it_is_the_last_length_or_what_was_trained() -> None:
    rows = torch.tensor([[50.0, 50.0], [50.1, 50.0], [50.0, 50.1], [50.1, 50.1], [50.2, 50.0]])
    last = craft("fang", rows[:1], honest=rows, rule="krum")
    assert (last < 0).all()
    assert (last > -1e-5).all()
    kept = craft("fang", rows[:1], honest=rows, rule="krum", otherwise="honest")
    assert torch.equal(kept, rows[:1])


def test_alone_with_partial_knowledge_nobody_is_led() -> None:
    assert torch.equal(craft("fang", OWN[:1], rule="krum", known="partial"), OWN[:1])


@pytest.mark.parametrize("defense", ["median", "krum", "trimmed_mean", "centered_clipping"])
def test_tailored_to_a_defense_it_moves_the_aggregate_more_than_what_was_not(defense: str) -> None:
    rows = torch.randn(12, 30, generator=seeded(), dtype=torch.float64) / 3 + 0.2
    mean = rows[2:].mean(0)

    def moved(name: str, **further: Any) -> float:
        crafted = craft(name, rows[:2], honest=rows[2:], **further)
        answer = aggregate(defense, torch.cat([crafted, rows[2:]])).update
        return (answer - mean).norm().item()

    tailored = moved("agr_tailored", defense=defense, evaluations=40)
    assert tailored > max(moved(name) for name in KNOWING) * 0.98
    accepted = moved("agr_tailored", defense=defense, objective="accepted", direction="unit")
    assert accepted > 0


def test_where_nobody_is_judged_what_counts_is_how_far_the_aggregate_moves() -> None:
    """Anything is accepted there: the search would end at its edge, whatever that gives."""
    rows = torch.randn(12, 30, generator=seeded(), dtype=torch.float64)
    told = {"honest": rows[2:], "defense": "median"}
    assert aggregate("median", rows).trust is None
    accepted, deviation = (
        craft("agr_tailored", rows[:2], objective=objective, **told)
        for objective in ("accepted", "deviation")
    )
    assert torch.equal(accepted, deviation)


def test_who_asks_a_defense_needs_one() -> None:
    with pytest.raises(ValueError, match="AgrTailored asks the defense, and there is none to ask"):
        craft("agr_tailored", OWN, honest=ROWS)


def test_a_line_search_grows_then_shrinks_and_stops() -> None:
    asked: list[float] = []

    def value(gamma: float) -> float:
        asked.append(gamma)
        return -abs(gamma - 6)

    best, most = maximized(value, 20)
    assert asked[:4] == [0, 1, 3, 7]
    assert (len(asked), most) == (20, pytest.approx(0, abs=0.2))
    assert min(asked) >= 0
    assert best == pytest.approx(6, abs=0.2)
