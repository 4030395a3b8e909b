"""When compromised clients appear: exact for fixed frequency, hypergeometric for sampling."""

import numpy as np
import pytest
import torch
from scipy import stats

from benchmark.federation.participation import (
    FixedFrequency,
    ListedRounds,
    Participation,
    RandomSampling,
)
from benchmark.testing.toys import make_dataset, seeded
from tests.support.toys import make_federation

COHORT = torch.arange(10)


def attacked(participation: Participation, rounds: int) -> list[int]:
    return [t for t in range(rounds) if participation.compromised(t, COHORT).any()]


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        (1, list(range(12))),
        (2, [1, 3, 5, 7, 9, 11]),
        (3, [1, 4, 7, 10]),
        (5, [2, 7]),
        (10, [5]),
    ],
)
def test_fixed_frequency_appears_in_the_papers_rounds(frequency: int, expected: list[int]):
    assert attacked(FixedFrequency(frequency), 12) == expected


def test_it_is_one_client_in_the_last_place():
    mask = FixedFrequency(1).compromised(0, COHORT)
    assert mask.tolist() == [False] * 9 + [True]


def test_a_window_begins_with_its_first_round_and_ends_before_its_end():
    assert attacked(FixedFrequency(2, window=[3, 9]), 20) == [3, 5, 7]
    assert attacked(FixedFrequency(1, window=[0, 2]), 20) == [0, 1]
    sampling = RandomSampling(1.0, window=[4, 6])
    sampling.setup(10, seed=0)
    assert attacked(sampling, 20) == [4, 5]


@pytest.mark.parametrize("window", [[3, 3], [5, 2], [-1, 4], [1], [1, 2, 3]])
def test_a_bad_window_is_refused(window: list[int]):
    with pytest.raises(ValueError, match="window must be"):
        FixedFrequency(1, window=window)


@pytest.mark.parametrize(
    ("fraction", "users", "count"),
    [(0.0333, 3383, 113), (0.0033, 3383, 11), (0.5, 3, 2), (1, 5, 5)],
)
def test_the_number_of_compromised_users_is_rounded(fraction: float, users: int, count: int):
    sampling = RandomSampling(fraction)
    sampling.setup(users, seed=1)
    mask = sampling.compromised(0, torch.arange(users))
    assert mask.sum() == count


def test_compromised_users_are_nested_the_same_in_every_round_and_new_for_another_seed():
    def users(fraction: float, seed: int = 0, round: int = 0) -> set[int]:
        sampling = RandomSampling(fraction)
        sampling.setup(1000, seed)
        everybody = torch.arange(1000)
        return set(everybody[sampling.compromised(round, everybody)].tolist())

    assert users(0.01) < users(0.03) < users(0.1)
    assert users(0.03) == users(0.03, round=7)
    assert users(0.03) != users(0.03, seed=1)


def test_random_sampling_counts_are_hypergeometric():
    """Chi-square over 3,000 rounds of the federation's own cohorts."""
    N, K, fraction, rounds = 40, 10, 0.15, 3000
    federation = make_federation(
        make_dataset([11] * N),
        clients_per_round=K,
        participation=RandomSampling(fraction),
        seed=3,
    )
    mask = [
        federation.participation.compromised(t, federation.sample_cohort(t).clients)
        for t in range(rounds)
    ]
    counts = np.bincount([int(m.sum()) for m in mask], minlength=7)
    law = stats.hypergeom(N, 6, K)
    observed = [*counts[:4], counts[4:].sum()]
    expected = [*(rounds * law.pmf(range(4))), rounds * law.sf(3)]
    assert stats.chisquare(observed, expected).pvalue > 0.01
    # and in no place of the cohort more often than in another
    places = torch.stack(mask).double().mean(dim=0)
    assert (places - fraction).abs().max() < 4 * (fraction * (1 - fraction) / rounds) ** 0.5


def test_with_replacement_counts_are_binomial():
    N, K, rounds = 20, 8, 3000
    federation = make_federation(
        make_dataset([11] * N),
        clients_per_round=K,
        replacement=True,
        participation=RandomSampling(0.25),
    )
    counts = np.bincount(
        [
            int(federation.participation.compromised(t, federation.sample_cohort(t).clients).sum())
            for t in range(rounds)
        ],
        minlength=K + 1,
    )
    law = stats.binom(K, 0.25)
    observed = [*counts[:5], counts[5:].sum()]
    expected = [*(rounds * law.pmf(range(5))), rounds * law.sf(4)]
    assert stats.chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float):
    with pytest.raises(ValueError, match="fraction must be above 0"):
        RandomSampling(fraction)


@pytest.mark.parametrize("users", [6, 7, 100, 539, 3383])
def test_a_fraction_that_means_nobody_is_refused_with_one_that_works(users: int):
    with pytest.raises(ValueError, match="is nobody") as refused:
        RandomSampling(0.4 / users).setup(users, seed=0)
    least = RandomSampling(float(str(refused.value).split()[-1]))
    least.setup(users, seed=0)
    assert least.compromised(0, torch.arange(users)).sum() == 1


def test_a_frequency_below_one_is_refused():
    with pytest.raises(ValueError, match="frequency must be at least 1"):
        FixedFrequency(0)


def test_a_cohort_in_any_order_marks_the_same_users():
    sampling = RandomSampling(0.3)
    sampling.setup(10, seed=0)
    order = torch.randperm(10, generator=seeded())
    assert torch.equal(
        sampling.compromised(0, COHORT[order]), sampling.compromised(0, COHORT)[order]
    )


def test_several_take_the_last_places_and_each_that_appears_is_another_one():
    many = FixedFrequency(3, num_compromised=2)
    mask = many.compromised(4, COHORT)
    assert mask.tolist() == [False] * 8 + [True] * 2
    assert many.ranks(1, COHORT, mask).tolist() == [0, 1]
    assert many.ranks(4, COHORT, mask).tolist() == [2, 3]
    late = FixedFrequency(3, num_compromised=2, window=[4, 20])
    assert attacked(late, 20) == [4, 7, 10, 13, 16, 19]
    assert [late.ranks(t, COHORT, mask).tolist() for t in (4, 7)] == [[0, 1], [2, 3]]


def test_listed_rounds_stagger_their_attackers():
    staggered = ListedRounds([5, 2, 9])
    assert attacked(staggered, 20) == [2, 5, 9]
    mask = staggered.compromised(5, COHORT)
    assert mask.tolist() == [False] * 9 + [True]
    assert [int(staggered.ranks(t, COHORT, mask)) for t in (2, 5, 9)] == [0, 1, 2]
    assert staggered.ranks(3, COHORT, staggered.compromised(3, COHORT)).tolist() == []
    assert attacked(ListedRounds(), 20) == [12, 14, 16, 18]


def test_a_sampled_clients_rank_is_its_own_in_every_round():
    sampled = RandomSampling(0.5)
    sampled.setup(10, seed=0)
    for cohort in (COHORT, COHORT.flip(0)):
        mask = sampled.compromised(0, cohort)
        ranks = sampled.ranks(0, cohort, mask)
        assert sampled.users[ranks].tolist() == cohort[mask].tolist()


@pytest.mark.parametrize("rounds", [[], [-1], [3, 3]])
def test_rounds_that_are_none_are_refused(rounds: list[int]):
    with pytest.raises(ValueError, match="rounds must be different ones from 0"):
        ListedRounds(rounds)


def test_more_places_than_the_cohort_has_are_refused():
    with pytest.raises(ValueError, match=r"num_compromised must be 1 to 3, the clients of a round"):
        make_federation(participation=FixedFrequency(1, 4), clients_per_round=3)
