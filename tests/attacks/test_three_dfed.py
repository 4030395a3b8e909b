"""3DFed: noise that cancels, and marks that are read."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.noise_masks import optimized, output_places
from benchmark.attacks.three_dfed import ThreeDFed, marked_layer
from benchmark.engine.client import layers_of
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready
from benchmark.testing.toys import seeded

LAYERS = layers_of(
    {"c.weight": (4, 1, 3, 3), "c.bias": (4,), "o.weight": (10, 36), "o.bias": (10,)}
)


def lanes(M: int, seed: int = 1) -> Tensor:
    return torch.randn(M, 2, 410, generator=seeded(seed), dtype=torch.float64) / 100


def told(M: int, round: int = 0) -> AttackContext:
    there = context(bench(torch.float64), torch.zeros(410).double())
    members = tuple(client(slot, M=M) for slot in range(M))
    return replace(there, round=round, members=members, boosts=torch.ones(M), layers=LAYERS)


def built(**parameters: float) -> ThreeDFed:
    attack = ThreeDFed(**parameters)  # type: ignore[arg-type]
    ready(attack)
    return attack


def test_one_alone_submits_what_is_at_least_as_long_as_honest_up_to_a_factor():
    for honest, malicious, expected in ((3.0, 1.0, 3.0), (30.0, 1.0, 5.0), (1.0, 3.0, 3.0)):
        given = torch.zeros(1, 2, 410).double()
        given[0, 0, 5], given[0, 1, 6] = honest, malicious
        found = built().craft(given, told(1))
        assert found[0, 6] == expected
        assert found.count_nonzero() == 1


def test_places_of_the_output_are_by_class():
    places = output_places(LAYERS)
    assert places.shape == (10, 37)
    assert places[0].tolist() == [*range(40, 76), 400]
    assert places[9].tolist() == [*range(364, 400), 409]


def test_noise_is_on_some_rows_but_the_wanted_classs_and_cancels_in_its_group():
    given = lanes(4)
    found = built(mark=0.0).craft(given, told(4))
    base = built(mark=0.0).craft(given[:1], told(1))[0]
    noise = found - base
    assert not noise[:, :40].any()
    rows = noise[:, output_places(LAYERS)].abs().sum(dim=2) > 0
    assert rows.sum(dim=1).tolist() == [8] * 4
    assert not rows[:, backdoor().labels[0]].any()
    partner = [(noise[0] + noise[j]).norm() for j in (1, 2, 3)]
    assert min(partner) < 0.2 * noise[0].norm()


def test_noise_makes_rows_large_or_stays_small():
    rows = torch.full((8, 37), 1e-3).double()
    noise = 0.05 * torch.randn(2, 8, 37, generator=seeded(), dtype=torch.float64)
    sizes = [float(optimized(rows, noise, alpha).norm()) for alpha in (0.01, 0.5, 0.99)]
    assert sizes[0] < sizes[2]
    apart = optimized(rows, noise, 0.5)
    assert apart.sum(dim=0).norm() < 0.1 * apart.norm()


def test_the_least_active_of_the_last_kernel_are_marked():
    given = lanes(3)
    attack = built(noisy_rows=1)
    found = attack.craft(given, told(3))
    scaled = built().craft(given[:1], told(1))[0]
    activity = given[0, 0].abs() + scaled.abs()
    least = activity[:36].argsort()[:3].tolist()
    assert attack.places[:3].tolist() == least
    for j, place in enumerate(least):
        assert found[j, place] == pytest.approx(1e5 * float(scaled[place]))
        assert found[(j + 1) % 3, place] == scaled[place]
    assert marked_layer(layers_of({"a": (3, 2), "b": (2,), "o": (2, 2)})).name == "a"
    assert marked_layer(layers_of({"o": (5,)})).name == "o"


def after(attack: ThreeDFed, shares: list[float], round: int = 1) -> list[float]:
    """α of the groups after the server gave the marks these shares of what they were."""
    change = torch.zeros(410).double()
    for share, place, mark in zip(shares, attack.places, attack.marks, strict=False):
        change[place] = share * mark
    attack.observe(round, change)
    attack.craft(lanes(len(shares), round), told(len(shares), round))
    return attack.alphas[: len(shares) // 2].tolist()


def first(M: int = 4) -> tuple[ThreeDFed, list[float], list[int]]:
    """An attack after its first round, α and whose group is whose."""
    attack = built()
    attack.observe(0, torch.zeros(410).double())
    attack.craft(lanes(M), told(M))
    return attack, attack.alphas[: M // 2].tolist(), attack.groups[:M].tolist()


def test_accepted_groups_narrow_down_what_is_drawn():
    attack, alphas, _ = first()
    low, high = sorted(alphas)
    assert all(low <= x <= high for x in after(attack, [0.25] * 4))
    attack, alphas, groups = first()
    found = after(attack, [0.25 if group == 1 else 0.0 for group in groups])
    assert all(alphas[1] <= x <= alphas[1] + 0.1 for x in found)
    attack, alphas, groups = first()  # clipped is not accepted
    found = after(attack, [0.25 if group == 0 else 0.15 for group in groups])
    assert all(alphas[0] <= x <= alphas[0] + 0.1 for x in found)
    attack, alphas, _ = first(2)
    assert after(attack, [0.5, 0.5]) == alphas
    attack, alphas, _ = first(2)
    assert after(attack, [0.0, 0.0]) != alphas


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_noise_of_the_server_ends_tuning_and_marks(share: float):
    attack, _, _ = first()
    assert after(attack, [share, 0.25, 0.25, 0.25]) == [0.01, 0.01]
    assert attack.is_noisy
    assert (attack.places == -1).all()
    attack.observe(2, torch.zeros(410).double())
    attack.craft(lanes(4), told(4, 2))
    assert attack.alphas[:2].tolist() == [0.01, 0.01]
