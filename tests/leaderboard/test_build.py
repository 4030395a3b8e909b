import pytest

from tests.support.synthetic import only, pair, record, undefended


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
    records = undefended()
    records.append(
        record("norm_bounded", metrics={"backdoor_in_sample": 0.8, "backdoor_held_out": 0.99})
    )
    (row,) = only(records).defense_rows
    assert row.worst_attack == "boosted"


def test_a_collapsed_model_never_wins():
    records = undefended() + pair(
        "weak_dp",
        unattacked={"main_accuracy": 0.09, "backdoor_in_sample": 0.0},
        attacked={"main_accuracy": 0.09, "backdoor_in_sample": 0.0},
    )
    section = only(records)
    assert statuses(section) == [(1, "mean", "ranked"), (None, "weak_dp", "collapsed")]
    assert section.defense_rows[1].reason == "main accuracy 9.0 % even unattacked"
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
    assert row.flagged == (0 if status == "ranked" else 1)


def test_gate_holds_for_the_mean_and_single_runs_are_flagged():
    records = undefended((0, 1))
    for seed, main in enumerate((0.92, 0.84)):
        records += pair(
            "norm_clip",
            attacked={"main_accuracy": main, "backdoor_in_sample": 0.02},
            seeds=(seed,),
        )
    row = only(records).defense_rows[0]
    assert (row.rank, row.defense, row.flagged) == (1, "norm_clip", 1)
    assert [run.below_gate for run in row.worst.runs] == [False, True]


def test_a_defense_is_ranked_by_its_worst_attack():
    def against(defense, boosted, bounded):
        return [
            record("none", defense),
            record("boosted", defense, metrics={"backdoor_in_sample": boosted}),
            record("norm_bounded", defense, metrics={"backdoor_in_sample": bounded}),
        ]

    section = only(
        against("mean", 0.9, 0.6)
        + against("norm_reject", 0.0, 0.5)
        + against("norm_clip", 0.3, 0.2)
    )
    assert [(r.rank, r.defense, r.worst_attack) for r in section.defense_rows] == [
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
