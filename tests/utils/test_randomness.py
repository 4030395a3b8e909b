"""The one source of randomness."""

import torch

from benchmark.utils.randomness import derive, generator, numpy_generator


def test_derived_seeds_are_what_they_always_were():
    """Golden: a change here changes every result that was ever recorded."""
    assert derive(0, 0, "model") == 5457365684469557985
    assert derive(1, 7, "cohort") == 7109263302959037173
    assert derive(2**40, 299, "batches/local/29") == 3438542123909058531


def test_every_seed_round_and_purpose_has_its_own():
    derived = {
        derive(seed, round, purpose)
        for seed in range(12)
        for round in range(12)
        for purpose in ("cohort", "model", "1", "11", "batches/local/1", "batches/local/11")
    }
    assert len(derived) == 12 * 12 * 6
    assert all(0 <= value < 2**63 for value in derived)


def test_generators_are_fresh():
    assert torch.equal(
        torch.rand(5, generator=generator(0, 1, "x")), torch.rand(5, generator=generator(0, 1, "x"))
    )
    assert numpy_generator(0, 1, "x").random() == numpy_generator(0, 1, "x").random()
    assert numpy_generator(0, 1, "x").random() != numpy_generator(0, 2, "x").random()
