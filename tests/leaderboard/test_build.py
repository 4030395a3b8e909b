from dataclasses import replace

import pytest

from benchmark import leaderboard
from benchmark.leaderboard.latex import to_latex
from benchmark.run.curve import Curve, Summary
from benchmark.run.record import Divergence
from tests.support.synthetic import only, pair, record, terminal, undefended


def diverged(run):
    """The same run, had its model not stayed finite."""
    main = {"main_accuracy": Summary(0.0, 0.0, 0.9, None, None)}
    end = Divergence(7, "round 7: the aggregated update is not finite", [], [3])
    return replace(run, summary=main, curves={}, diverged=end, weights_sha256=None)


def test_lift_is_paired_and_so_tighter_than_its_parts():
    records = []
    for seed, base in enumerate((0.01, 0.11, 0.21)):
        records += pair(
            "mean",
            unattacked={"backdoor_in_sample": base},
            attacked={"backdoor_in_sample": base + 0.5},
            seeds=(seed,),
        )
    cell = only(records).cell("boosted", "mean")
    assert cell.lift.mean == pytest.approx(0.5)
    assert cell.lift.half_width == pytest.approx(0, abs=1e-12)
    assert cell.in_sample.half_width > 0.2


def test_lift_is_over_the_same_defense():
    records = undefended() + pair(
        "norm_clip",
        unattacked={"backdoor_in_sample": 0.2},
        attacked={"backdoor_in_sample": 0.5},
    )
    assert only(records).cell("boosted", "norm_clip").lift.mean == pytest.approx(0.3)


def test_honest_cost_is_against_the_unattacked_undefended_run():
    records = undefended() + pair(
        "norm_clip",
        unattacked={"source_accuracy_targets": 0.85},
        attacked={"source_accuracy_targets": 0.55},
    )
    section = only(records)
    assert section.cell("boosted", "norm_clip").cost.mean == pytest.approx(0.95 - 0.55)
    assert section.cell("none", "norm_clip").cost.mean == pytest.approx(0.95 - 0.85)


# --- ranking and the gate


def statuses(section):
    return [(row.rank, row.defense, row.status) for row in section.defense_rows]


def test_the_worst_attack_is_that_with_most_in_sample_whatever_is_held_out():
    scores = {"backdoor_in_sample": 0.8, "backdoor_held_out": 0.99}
    records = undefended() + [record("norm_bounded", seed=seed, metrics=scores) for seed in (0, 1)]
    (row,) = only(records).defense_rows
    assert row.worst.attack == "boosted"


def test_a_collapsed_model_never_wins():
    records = undefended() + pair(
        "weak_dp",
        unattacked={"main_accuracy": 0.09, "backdoor_in_sample": 0.0},
        attacked={"main_accuracy": 0.09, "backdoor_in_sample": 0.0},
    )
    section = only(records)
    assert statuses(section) == [(1, "mean", "ranked"), (None, "weak_dp", "collapsed")]
    assert section.defense_rows[1].reason == "main accuracy 9.0 % unattacked"
    assert section.defense_rows[1].worst.in_sample.mean == 0.0


@pytest.mark.parametrize(
    ("main", "status"), [(0.8701, "ranked"), (0.8699, "below the gate"), (0.45, "collapsed")]
)
@pytest.mark.parametrize("where", ["unattacked", "attacked"])
def test_gate_is_five_points_below_the_reference_everywhere(main, status, where):
    kept = {"backdoor_in_sample": 0.0}
    fallen = {**kept, "main_accuracy": main}
    outcome = {"unattacked": kept, "attacked": kept, where: fallen}
    section = only(undefended() + pair("norm_clip", **outcome))
    assert section.floor == pytest.approx(0.87)
    row = next(row for row in section.defense_rows if row.defense == "norm_clip")
    assert row.status == status
    assert row.rank == (1 if status == "ranked" else None)
    assert row.flagged == (0 if status == "ranked" else 2)


def losing(*losses, base=(0.92, 0.92, 0.92)):
    """A defense whose attacked runs lose so much beside the undefended ones of their seeds."""
    records = []
    for seed, (loss, main) in enumerate(zip(losses, base, strict=False)):
        kept = {"main_accuracy": main, "backdoor_in_sample": 0.9}
        lost = {"main_accuracy": main - loss, "backdoor_in_sample": 0.02}
        records += pair("mean", unattacked=kept, attacked=kept, seeds=(seed,))
        records += pair("norm_clip", unattacked=kept, attacked=lost, seeds=(seed,))
    return next(row for row in only(records).defense_rows if row.defense == "norm_clip")


@pytest.mark.parametrize(
    ("losses", "status", "rank", "flagged"),
    [
        ((0.02, 0.025, 0.03), "ranked", 1, 0),  # 2.5 ± 1.2 points
        ((0.02, 0.04, 0.06), "at the gate", None, 1),  # 4 ± 5: their mean passes
        ((0.04, 0.06, 0.08), "at the gate", None, 2),  # 6 ± 5: their mean fails
        ((0.07, 0.08, 0.09), "below the gate", None, 3),  # 8 ± 2.5
        ((0.0,), "at the gate", None, 0),  # one seed
        ((0.4,), "at the gate", None, 1),
    ],
)
def test_the_gate_judges_the_loss_by_its_whole_interval(losses, status, rank, flagged):
    row = losing(*losses)
    assert (row.status, row.rank, row.flagged) == (status, rank, flagged)


def test_the_loss_is_paired_so_that_seeds_that_differ_alike_do_not_blur_it():
    row = losing(0.04, 0.04, 0.04, base=(0.7, 0.8, 0.95))
    assert (row.status, row.rank) == ("ranked", 1)
    assert row.dearest.attack == "boosted"
    assert row.dearest.loss.half_width == pytest.approx(0, abs=1e-9)
    assert [run.below_gate for run in row.dearest.runs] == [False] * 3


def test_what_is_at_the_gate_stands_behind_the_ranked_with_what_it_loses():
    row = losing(0.02, 0.04, 0.06)
    assert row.reason == "loses 4.0 ± 5.0 points under boosted"
    assert losing(0.0).reason == "one seed has no interval"
    # Of two cells that one whose interval reaches highest is shown, whatever the mean.
    steady = [
        record("norm_bounded", "norm_clip", s, metrics={"main_accuracy": 0.875}) for s in (0, 1)
    ]
    lucky = pair("norm_clip", attacked={"main_accuracy": 0.9}, seeds=(0,))
    lucky += pair("norm_clip", attacked={"main_accuracy": 0.88}, seeds=(1,))
    rows = only([*undefended(), *steady, *lucky]).defense_rows
    (row,) = (row for row in rows if row.defense == "norm_clip")
    assert (row.dearest.attack, row.dearest.loss.mean) == ("boosted", pytest.approx(0.03))


def test_a_model_that_diverged_is_at_zero_for_the_gate_and_not_scored_and_said_everywhere():
    records = undefended((0, 1, 2)) + pair("norm_clip", seeds=(0, 1, 2))
    records[-1] = diverged(records[-1])
    board = leaderboard.build(records)
    (section,) = board.sections
    assert statuses(section)[-1] == (None, "norm_clip", "diverged")
    assert section.defense_rows[-1].reason == "1 of 3 seeds under boosted"
    cell = section.cell("boosted", "norm_clip")
    assert [run.main for run in cell.runs] == [0.92, 0.92, 0.0]
    assert [run.in_sample for run in cell.runs] == [0.01, 0.01, None]
    assert (cell.in_sample.n, cell.main.n, cell.runs[2].diverged_round) == (2, 3, 7)
    assert [row.diverged for row in section.attack_rows] == [1]
    for text in (leaderboard.to_markdown(board), leaderboard.to_html(board, records)):
        assert "diverged in round 7" in text
        assert "1 of 3 seeds under boosted" in " ".join(text.split())
        assert "1 diverged" in text
    assert "1 of 3 seeds under boosted" in " ".join(terminal(board).split())
    assert r"diverged & norm\_clip" in to_latex(board)


def test_an_undefended_model_that_diverged_is_no_reference():
    records = undefended((0, 1, 2)) + pair("norm_clip", seeds=(0, 1, 2))
    records[4] = diverged(records[4])
    section = only(records)
    assert section.reference.n == 2
    assert section.cell("none", "norm_clip").loss.n == 2
    assert statuses(section)[-1] == (None, "mean", "diverged")


def test_rounds_in_which_everybody_was_rejected_are_counted_and_their_seeds_named():
    records = undefended() + pair("norm_reject")
    for run, rounds in zip(records[-4:], (0, 0, 3, 1), strict=True):
        frozen = [float(round < rounds) for round in range(20)]
        run.curves["all_rejected"] = Curve(list(range(20)), frozen)
    board = leaderboard.build(records)
    (section,) = board.sections
    assert [(row.defense, row.all_rejected) for row in section.defense_rows] == [
        ("norm_reject", 4),
        ("mean", 0),
    ]
    assert [run.all_rejected for run in section.cell("none", "mean").runs] == [None, None]
    told = (
        "norm_reject rejected everybody under {}, so that the model stayed as it was: seed 1 ({})."
    )
    assert section.notes == [told.format("none", "3 rounds"), told.format("boosted", "1 round")]
    for text in (leaderboard.to_markdown(board), leaderboard.to_html(board, records)):
        assert "rejected everybody in 4 rounds" in text
        assert "seed 1 (3 rounds)" in " ".join(text.split())


def test_intervals_say_that_the_partition_is_the_same_in_every_seed():
    board = leaderboard.build(undefended())
    assert "The partition of the data is the same in every seed" in leaderboard.to_markdown(board)
    assert board.sections[0].partitions == 1


def test_a_defense_is_ranked_by_its_worst_attack():
    def against(defense, boosted, bounded):
        outcomes = {"none": 0.01, "boosted": boosted, "norm_bounded": bounded}
        return [
            record(attack, defense, seed, metrics={"backdoor_in_sample": value})
            for attack, value in outcomes.items()
            for seed in (0, 1)
        ]

    section = only(
        against("mean", 0.9, 0.6)
        + against("norm_reject", 0.0, 0.5)
        + against("norm_clip", 0.3, 0.2)
    )
    assert [(r.rank, r.defense, r.worst.attack) for r in section.defense_rows] == [
        (1, "norm_clip", "boosted"),
        (2, "norm_reject", "norm_bounded"),
        (3, "mean", "boosted"),
    ]


def test_ties_go_to_held_out_then_main_then_name():
    def tied(name, held_out, main):
        scores = {"backdoor_in_sample": 0.1, "backdoor_held_out": held_out}
        return pair(name, unattacked={"main_accuracy": main}, attacked=scores)

    section = only(
        undefended()
        + tied("d", 0.05, 0.92)
        + tied("c", 0.05, 0.92)
        + tied("b", 0.05, 0.93)
        + tied("a", 0.06, 0.94)
    )
    assert [row.defense for row in section.defense_rows] == ["b", "c", "d", "a", "mean"]


def test_attacks_are_ranked_by_mean_lift_over_sound_defenses():
    def cells(defense, main, **reached):
        yield record("none", defense, metrics={"main_accuracy": main, "backdoor_in_sample": 0.0})
        for attack, in_sample in reached.items():
            metrics = {"main_accuracy": main, "backdoor_in_sample": in_sample}
            yield record(attack, defense, metrics=metrics)

    section = only(
        [
            *cells("mean", 0.92, boosted=0.9, stealthy=0.6),
            *cells("norm_clip", 0.92, boosted=0.0, stealthy=0.6),
            *cells("weak_dp", 0.1, boosted=1.0, stealthy=0.0),  # collapsed: does not count
        ]
    )
    first, second = section.attack_rows
    assert (first.rank, first.attack, first.successes, first.defenses) == (1, "stealthy", 2, 2)
    assert first.lift.mean == pytest.approx(0.6)
    assert (second.rank, second.attack, second.successes) == (2, "boosted", 1)
    assert second.lift.mean == pytest.approx(0.45)
    assert second.best_defense.defense == "norm_clip"
    assert second.worst_defense.defense == "mean"
    assert second.undefended.in_sample.mean == pytest.approx(0.9)
