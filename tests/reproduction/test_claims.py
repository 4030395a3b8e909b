"""Verdicts on both sides of every margin, and none on runs that are missing or mean nothing."""

from typing import Any

import pandas as pd
import pytest

from benchmark.reproduction import verdict as verdicts
from benchmark.reproduction.claim import Claim
from benchmark.reproduction.evidence import Failure
from benchmark.reproduction.verdict import Verdict
from benchmark.results.table import no_record
from benchmark.results.table import runs as table_of
from benchmark.run.record import Record
from benchmark.utils.errors import UserError
from tests.support.measured import record

SEEDS = [0, 1, 2]
RAW: dict[str, Any] = {
    "text": "Clipping helps.",
    "source": "our own",
    "suite": "s",
    "metric": "backdoor_in_sample",
    "measure": "final",
    "order": [{"defense": "mean"}, {"defense": "norm_clip", "defense.norm_bound": 3.0}],
    "direction": "higher",
    "margin": 0.2,
}


def claim(**changes: Any) -> Claim:
    return Claim.of("c", RAW | changes)


Runs = dict[str, list[Record | Failure | None]]


def judge(claim: Claim, suites: Runs, seeds: list[int], main: float | None) -> Verdict:
    """On runs, those that failed, and None for each that was not made."""
    tables = [table_of([]).assign(suite="")]
    for suite, found in suites.items():
        records = [run for run in found if isinstance(run, Record)]
        absent = [
            no_record(f"x{i}", run.seed, run.reason, run.config) if run else no_record(f"x{i}", -1)
            for i, run in enumerate(found)
            if not isinstance(run, Record)
        ]
        tables.append(table_of(records, absent).assign(suite=suite))
    return verdicts.judge(claim, pd.concat(tables[1:] or tables), seeds, main)


def two_sides(mean: list[float], clipped: list[float]) -> dict[str, list[Record | None]]:
    """One run a seed of each side, with these final values."""
    return {
        "s": [record(s, [v]) for s, v in zip(SEEDS, mean, strict=False)]
        + [
            record(s, [v], defense="norm_clip", norm_bound=3.0)
            for s, v in zip(SEEDS, clipped, strict=False)
        ]
    }


# Effects 0.30, 0.31, 0.32: mean 0.31, s = 0.01, t(0.975, 2) = 4.3027, so 0.31 ± 0.0248.
ONE, OTHER = [0.60, 0.71, 0.82], [0.30, 0.40, 0.50]


@pytest.mark.parametrize(
    ("direction", "margin", "word"),
    [
        ("higher", 0.28, "holds"),
        ("higher", 0.29, "undecided"),
        ("higher", 0.33, "undecided"),
        ("higher", 0.34, "does not hold"),
        ("lower", 0.0, "does not hold"),
        ("same", 0.34, "holds"),
        ("same", 0.33, "undecided"),
        ("same", 0.29, "undecided"),
        ("same", 0.28, "does not hold"),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_both_sides_of_the_margin(direction: str, margin: float, word: str, mirrored: bool):
    sides = (OTHER, ONE) if mirrored else (ONE, OTHER)
    if mirrored:
        direction = {"higher": "lower", "lower": "higher"}.get(direction, direction)
    verdict = judge(claim(direction=direction, margin=margin), two_sides(*sides), SEEDS, 0.9)
    assert verdict.word == word
    (comparison,) = verdict.comparisons
    assert comparison.effect.mean == pytest.approx(-0.31 if mirrored else 0.31)
    assert comparison.effect.half_width == pytest.approx(0.024841, abs=1e-6)


def test_runs_are_paired_by_seed():
    """Unpaired, the spread between seeds would hide the effect."""
    verdict = judge(claim(margin=0.1), two_sides([0.9, 0.5, 0.3], [0.7, 0.3, 0.1]), SEEDS, 1)
    assert verdict.word == "holds"


def test_a_number_stands_for_itself():
    runs = two_sides(ONE, OTHER)
    high = claim(order=[{"defense": "mean"}, 0.4], margin=0)
    assert judge(high, runs, SEEDS, 0.9).comparisons[0].other.mean == pytest.approx(0.4)
    assert (
        judge(claim(order=[{"defense": "mean"}, 0.0], margin=0), runs, SEEDS, 0.9).word == "holds"
    )


@pytest.mark.parametrize(
    ("last", "word"), [(0.1, "holds"), (0.29, "undecided"), (0.5, "does not hold")]
)
def test_a_chain_is_as_good_as_its_weakest_link(last: float, word: str):
    runs = two_sides(ONE, OTHER)
    runs["s"] += [
        record(s, [last + d], defense="norm_clip", norm_bound=1.0)
        for s, d in zip(SEEDS, (0, 0.1, 0.2), strict=True)
    ]
    if word == "undecided":
        runs["s"][-1] = record(2, [0.6], defense="norm_clip", norm_bound=1.0)
    order = [*RAW["order"], {"defense": "norm_clip", "defense.norm_bound": 1.0}]
    verdict = judge(claim(order=order, margin=0), runs, SEEDS, 0.9)
    assert verdict.word == word
    assert [c.word for c in verdict.comparisons] == ["holds", word]


def test_one_seed_decides_nothing():
    assert judge(claim(), two_sides([0.9], [0.0]), [0], 0.9).word == "undecided"


def drop(runs: dict[str, list[Record | None]], index: int) -> None:
    runs["s"][index] = None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda runs: drop(runs, 1), "suite=s defense=mean: no run of seed 1"),
        (lambda runs: runs["s"].clear(), "no run of seed 0, 1, 2"),
        (lambda runs: runs.clear(), "no run of seed 0, 1, 2"),
        (lambda runs: runs["s"].append(record(0, [0.5])), "fits several runs of a seed"),
        (
            lambda runs: runs["s"].__setitem__(0, record(0, [1.0], main=0.44)),
            "the model of mean-None-0 collapsed",
        ),
        (
            lambda runs: runs["s"].__setitem__(0, record(0, [float("nan")])),
            "mean-None-0 has no final of backdoor_in_sample",
        ),
    ],
)
def test_missing_and_collapsed_runs_are_never_passed_over(change: Any, why: str):
    runs = two_sides(ONE, OTHER)
    change(runs)
    verdict = judge(claim(margin=0), runs, SEEDS, 0.9)
    assert verdict.word == "not decidable"
    assert why in verdict.why
    assert verdict.comparisons == ()


def test_a_model_above_half_the_main_accuracy_has_not_collapsed():
    runs = two_sides(ONE, OTHER)
    runs["s"][0] = record(0, [ONE[0]], main=0.46)
    assert judge(claim(margin=0), runs, SEEDS, 0.9).word == "holds"
    assert "no main accuracy" in judge(claim(margin=0), runs, SEEDS, None).why


def test_main_accuracy_of_a_collapsed_model_is_a_finding():
    runs = two_sides(ONE, OTHER)
    runs["s"][3:] = [record(s, [0.0], main=0.1, defense="norm_clip", norm_bound=3.0) for s in SEEDS]
    assert judge(claim(metric="main_accuracy"), runs, SEEDS, 0.9).comparisons[
        0
    ].effect.mean == pytest.approx(0.8)


def test_a_model_that_diverged_reads_nothing_and_says_nothing_of_its_backdoor():
    runs = two_sides(ONE, OTHER)
    config = runs["s"][3].config
    runs["s"][3:] = [Failure(s, config, "FloatingPointError: round 3") for s in SEEDS]
    same = claim(metric="main_accuracy", direction="same")
    verdict = judge(same, runs, SEEDS, 0.9)
    assert verdict.word == "does not hold"
    assert verdict.comparisons[0].other.mean == 0
    verdict = judge(claim(), runs, SEEDS, 0.9)
    assert verdict.word == "not decidable"
    assert "seed 0 diverged in round 3; that is no success" in verdict.why
    runs["s"][3] = Failure(0, config, "its worker died")
    assert judge(same, runs, SEEDS, 0.9).word == "not decidable"


FLAT = [0.010, 0.012, 0.011]


@pytest.mark.parametrize(
    ("one", "direction", "margin", "word"),
    [
        # Noise cannot take five points off a backdoor of 4.9 %; off one of 5.1 % it might.
        (0.049, "higher", 0.04, "not decidable"),
        (0.051, "higher", 0.03, "holds"),
        (0.051, "higher", 0.05, "does not hold"),
        # Half of it cannot go where there is less than half.
        (0.400, "higher", 0.5, "not decidable"),
        (0.600, "higher", 0.5, "holds"),
        # Two backdoors that are not there are alike in nothing.
        (0.011, "same", 0.05, "not decidable"),
        (0.070, "same", 0.1, "not decidable"),
        (0.110, "same", 0.1, "holds"),
        (0.011, "lower", 0.0, "not decidable"),
    ],
)
def test_between_backdoors_that_are_not_there_nothing_is_decided(
    one: float, direction: str, margin: float, word: str
):
    runs = two_sides([one + d for d in (-0.001, 0.001, 0)], FLAT)
    verdict = judge(claim(direction=direction, margin=margin), runs, SEEDS, 0.9)
    assert verdict.word == word
    assert len(verdict.comparisons) == 1
    assert ("no backdoor of" in verdict.why) == (word == "not decidable")


def test_a_floor_is_for_backdoors_alone_and_for_what_could_not_differ():
    runs = two_sides(FLAT, FLAT)
    for each in runs["s"]:
        assert each
        each.summary["main_accuracy"] = each.summary["backdoor_in_sample"]
    same = {"direction": "same", "margin": 0.05}
    assert judge(claim(metric="main_accuracy", **same), runs, SEEDS, 0.01).word == "holds"
    # That it stays below 50 % can be seen of a backdoor that is not there.
    below = claim(order=[{"defense": "mean"}, 0.5], direction="lower", margin=0)
    assert judge(below, runs, SEEDS, 0.01).word == "holds"
    # But not that it comes and goes.
    saw = claim(order=[{"defense": "mean"}, 0.0], measure="unsteadiness", margin=0.05)
    runs = two_sides([], []) | {"s": [record(s, [0.01, 0.02, 0.01, 0.02]) for s in SEEDS]}
    assert judge(saw, runs, SEEDS, 0.9).word == "not decidable"
    runs = two_sides([], []) | {"s": [record(s, [0.9, 0.1, 0.9, 0.1]) for s in SEEDS]}
    assert judge(saw, runs, SEEDS, 0.9).word == "holds"


@pytest.mark.parametrize(
    ("last", "word"), [(0.0, "not decidable"), (0.5, "does not hold"), (0.03, "not decidable")]
)
def test_a_chain_that_ends_on_the_floor(last: float, word: str):
    runs = two_sides([0.6, 0.7, 0.8], FLAT)
    runs["s"] += [record(s, [last], defense="norm_clip", norm_bound=1.0) for s in SEEDS]
    order = [*RAW["order"], {"defense": "norm_clip", "defense.norm_bound": 1.0}]
    verdict = judge(claim(order=order, margin=0), runs, SEEDS, 0.9)
    assert (verdict.word, verdict.comparisons[0].word) == (word, "holds")
    # What goes up again refutes the order, whatever lies on the floor before it.
    again = judge(claim(order=[*order, order[0]], margin=0), runs, SEEDS, 0.9)
    assert again.word == "does not hold"


def test_pooled_runs_are_averaged_and_must_be_complete():
    runs = two_sides(ONE, OTHER)
    runs["s"] += [record(s, [0.0]) for s in SEEDS]
    pooled = claim(pool=True, margin=0)
    (comparison,) = judge(pooled, runs, SEEDS, 0.9).comparisons
    assert comparison.one.mean == pytest.approx(0.71 / 2)
    runs["s"].append(None)
    assert "not complete" in judge(pooled, runs, SEEDS, 0.9).why


def test_an_entry_may_bring_its_own_suite_metric_and_measure():
    runs = two_sides(ONE, OTHER) | {"t": [record(s, [0.2, 0.4]) for s in SEEDS]}
    own = {"suite": "t", "measure": "cumulative_mean", "defense": "mean"}
    (comparison,) = judge(
        claim(order=[own, own | {"metric": "main_accuracy"}]), runs, SEEDS, 0.9
    ).comparisons
    assert (comparison.one.mean, comparison.other.mean) == pytest.approx((0.3, 0.9))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"directoin": "higher"}, "claim c: no key 'directoin'; did you mean 'direction'?"),
        ({"direction": "up"}, "claim c: no direction 'up'; valid: higher, lower, same"),
        ({"measure": "last"}, "no measure 'last' in claim c"),
        ({"margin": -1}, "margin must be at least 0"),
        ({"margin": "0.1"}, "margin must be a number, got '0.1'"),
        ({"direction": "same", "margin": 0}, "above it for direction same"),
        ({"order": [{"defense": "mean"}]}, "order must hold two entries or more"),
        ({"order": [1, 2]}, "order must hold two entries or more, and runs"),
        ({"order": [{}, "mean"]}, "order.1 must be a mapping or a number, got 'mean'"),
        ({"given": "mean"}, "given must be a mapping"),
        ({"schema_version": 2}, "of schema version 2, this program reads version 1"),
    ],
)
def test_a_claim_that_is_none_is_refused(change: dict[str, Any], fault: str):
    with pytest.raises(UserError) as error:
        claim(**change)
    assert fault in str(error.value)


def test_a_claim_without_a_part_is_refused():
    with pytest.raises(UserError, match="claim c: margin is missing"):
        Claim.of("c", {k: v for k, v in RAW.items() if k != "margin"})
