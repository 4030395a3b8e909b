import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmark import leaderboard
from benchmark.errors import UserError
from benchmark.leaderboard.board import Leaderboard, Section
from benchmark.leaderboard.settings import choice
from benchmark.leaderboard.statistics import Estimate, difference, estimate
from tests.synthetic import GOLDEN, golden_cases, record, suite


def only(records) -> Section:
    (section,) = leaderboard.build(records).sections
    return section


def pair(defense, *, unattacked=None, attacked=None, seeds=(0,), **options):
    """An unattacked and a boosted run of a defense for each seed."""
    return [
        record(attack, defense, seed, metrics=metrics, **options)
        for seed in seeds
        for attack, metrics in (("none", unattacked), ("boosted", attacked))
    ]


def undefended(seeds=(0,)):
    return pair("mean", attacked={"backdoor_in_sample": 0.9}, seeds=seeds)


# --- statistics


def test_interval_of_three_seeds_by_hand():
    # mean 0.2, sample standard deviation 0.1, t(0.975, 2) = 4.303
    found = estimate({0: 0.1, 1: 0.2, 2: 0.3})
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.n == 3


def test_interval_of_two_seeds_by_hand():
    # s = 0.2 / √2, so t · s / √2 = 12.706 · 0.1
    assert estimate({0: 0.4, 5: 0.6}).half_width == pytest.approx(1.2706205, rel=1e-6)


def test_one_seed_has_no_interval_and_none_no_estimate():
    assert estimate({7: 0.3}) == Estimate(0.3, None, 1)
    assert estimate({}) is None


def test_differences_pair_by_seed():
    assert difference({0: 0.9, 1: 0.8, 2: 0.5}, {1: 0.1, 0: 0.2, 3: 0.0}) == pytest.approx(
        {0: 0.7, 1: 0.7}
    )


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


# --- what is missing


def test_a_defense_that_did_not_face_an_attack_is_not_ranked():
    records = [*undefended(), record("none", "norm_clip")]
    records += pair("norm_reject", attacked={"backdoor_in_sample": 0.4})
    section = only(records)
    assert statuses(section) == [
        (1, "norm_reject", "ranked"),
        (2, "mean", "ranked"),
        (None, "norm_clip", "incomplete"),
    ]
    assert section.defense_rows[2].reason == "not run: boosted"
    assert section.num_missing == 1
    assert (section.attack_rows[0].rank, section.attack_rows[0].missing) == (None, 1)


def test_a_failed_seed_leaves_its_defense_unranked_and_is_named():
    records = undefended((0, 1, 2))
    records += pair("norm_clip", attacked={"backdoor_in_sample": 0.01}, seeds=(0, 1))
    records += [record("none", "norm_clip", 2)]
    board = leaderboard.build(records)
    (section,) = board.sections
    assert statuses(section) == [(1, "mean", "ranked"), (None, "norm_clip", "incomplete")]
    assert section.defense_rows[1].reason == "not run: boosted seed 2"
    assert section.cell("boosted", "norm_clip").missing == [2]
    assert "1 run is missing" in leaderboard.to_markdown(board)
    assert "1 run is missing" in leaderboard.to_html(board, records)
    assert "1 run is missing" in terminal(board)


def test_without_an_undefended_unattacked_run_nothing_is_ranked():
    section = only(pair("norm_clip", attacked={"backdoor_in_sample": 0.0}))
    assert statuses(section) == [(None, "norm_clip", "incomplete")]
    assert "no gate" in section.defense_rows[0].reason
    assert section.floor is None


def test_an_absent_metric_is_not_a_good_one():
    blind = record("boosted", "norm_clip")
    del blind.summary["backdoor_in_sample"], blind.curves["backdoor_in_sample"]
    records = [*undefended(), record("none", "norm_clip"), blind]
    board = leaderboard.build(records)
    assert statuses(board.sections[0]) == [(1, "mean", "ranked"), (None, "norm_clip", "incomplete")]
    assert "not measured under boosted" in leaderboard.to_html(board, records)


def test_no_records_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(UserError, match="python -m benchmark suite default"):
        leaderboard.write("default", [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_twice_is_refused():
    again = replace(record("boosted"), cell="boosted-mean-s0-other")
    with pytest.raises(UserError, match=r"both boosted against mean with seed 0"):
        leaderboard.build([record("boosted"), again])


# --- settings and labels


def test_labels_are_names_and_explicit_overrides():
    clipped = record(
        "boosted",
        "norm_clip",
        defense_parameters={"norm_bound": 0.5},
        overrides=["+attack.epochs=3", "attack.bound=${defense.norm_bound}"],
    )
    assert choice(clipped, "attack") == "boosted (bound=defense.norm_bound, epochs=3)"
    assert choice(clipped, "defense") == "norm_clip (norm_bound=0.5)"


def test_an_attacker_who_adapts_to_each_defense_is_one_attack():
    records = []
    for bound in (1, 3):
        clip = {"defense_parameters": {"norm_bound": bound}}
        records.append(record("none", "norm_clip", **clip))
        records.append(record("norm_bounded", "norm_clip", resolved={"norm_bound": bound}, **clip))
    assert only(records).attacks == ["none", "norm_bounded"]


def test_equal_labels_with_different_parameters_are_told_apart():
    records = [
        record("norm_bounded", seed=0, resolved={"norm_bound": 1, "rounds": 5}),
        record("norm_bounded", seed=0, resolved={"norm_bound": 3, "rounds": 5}),
    ]
    assert only(records).attacks == ["norm_bounded (norm_bound=1)", "norm_bounded (norm_bound=3)"]


def test_bounds_are_in_the_order_of_numbers():
    records = [
        record("none", "norm_clip", defense_parameters={"norm_bound": bound})
        for bound in (10, 3, 0.5)
    ]
    assert only([*records, record()]).defenses == [
        "mean",
        "norm_clip (norm_bound=0.5)",
        "norm_clip (norm_bound=3)",
        "norm_clip (norm_bound=10)",
    ]


def test_settings_that_differ_are_never_averaged():
    often, seldom = {}, {"participation": {"frequency": 5}}
    records = [
        record(attack, setting=setting, metrics={"backdoor_in_sample": value})
        for setting, value in ((often, 0.9), (seldom, 0.2))
        for attack in ("none", "boosted")
    ]
    board = leaderboard.build(records)
    assert [s.setting.label for s in board.sections] == [
        "participation.frequency=1",
        "participation.frequency=5",
    ]
    assert [s.cell("boosted", "mean").in_sample.mean for s in board.sections] == [0.9, 0.2]
    assert leaderboard.to_html(board, records).count("<h2") == 2
    assert "## participation.frequency=5" in leaderboard.to_markdown(board)


def test_sections_are_labelled_by_names_and_by_what_differs_among_namesakes():
    qmnist = {"data": {"name": "qmnist"}}
    records = [
        record(),
        record(setting=qmnist),
        record(setting={**qmnist, "federation": {"rounds": 300}}),
        replace(record(), cell="other", data={**record().data, "hash": "7f" * 32}),
    ]
    assert [s.setting.label for s in leaderboard.build(records).sections] == [
        "data=digits5k, data.hash=5a5a5a5a, federation.rounds=60",
        "data=digits5k, data.hash=7f7f7f7f, federation.rounds=60",
        "data=qmnist, federation.rounds=300",
        "data=qmnist, federation.rounds=60",
    ]


# --- what is written


@pytest.mark.parametrize("name", ["leaderboard", "leaderboard-mixed"])
def test_golden_files(name):
    """After a change that is meant: ``python -m tests.synthetic --update``, and read the diff."""
    board = leaderboard.build(golden_cases()[name], name)
    assert leaderboard.to_json(board) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert leaderboard.to_markdown(board) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@given(st.permutations(golden_cases()["leaderboard-mixed"] + suite(seeds=2, rounds=10)[:20]))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_of_records_does_not_matter(records):
    board = leaderboard.build(records)
    expected = leaderboard.build(sorted(records, key=lambda r: r.cell))
    assert leaderboard.to_json(board) == leaderboard.to_json(expected)
    assert terminal(board) == terminal(expected)


def test_written_files_are_the_same_bytes_for_any_order(tmp_path):
    records = golden_cases()["leaderboard-mixed"]
    leaderboard.write("default", records, tmp_path / "a")
    leaderboard.write("default", records[::-1], tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [
        "curves.png",
        "leaderboard.html",
        "leaderboard.json",
        "leaderboard.md",
        "tradeoff.png",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_every_row_leads_to_records_runs_and_commands():
    records = suite(seeds=2, rounds=10)
    board = leaderboard.build(records, "default")
    value = json.loads(leaderboard.to_json(board))
    (section,) = value["sections"]
    known = {f"records/{r.cell}.json" for r in records}
    for row in section["defense_rows"]:
        assert len(row["runs"]) == 6
        assert set(row["runs"]) <= known
    for row in section["attack_rows"]:
        assert len(row["runs"]) == 14
    told = {run["record"]: run for cell in section["cells"] for run in cell["runs"]}
    page = leaderboard.to_html(board, records)
    for r in records:
        run = told[f"records/{r.cell}.json"]
        assert (run["command"], run["mlflow_run_id"]) == (r.command, r.mlflow_run_id)
        assert f'href="records/{r.cell}.json"' in page
        assert f"<pre>{r.command}</pre>" in page
        assert r.mlflow_run_id in page


def test_outputs_state_the_gate_the_seeds_and_whose_data_it_is():
    records = suite(seeds=1, rounds=10)
    board = leaderboard.build(records, "default")
    for text in (
        leaderboard.to_markdown(board),
        leaderboard.to_html(board, records),
        terminal(board),
    ):
        plain = " ".join(text.split())
        assert "at most 5 points below" in plain
        assert "1 seed, so there are no intervals" in plain
        assert "Style users are not writers" in plain
        assert "collapsed" in plain


HOSTILE = r'--><script>alert("1")</script><b>$\frac{$ | `y`'


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.links = []
        self.ids = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        found = dict(attributes)
        self.links += [found[k] for k in ("href", "src", "xlink:href") if found.get(k)]
        self.ids += [found["id"]] if "id" in found else []


def parsed(records):
    page = _Page()
    page.feed(leaderboard.to_html(leaderboard.build(records), records))
    return page


def test_hostile_names_stay_text_everywhere(tmp_path):
    def hostile(text):
        chosen = {"attack_parameters": {"x": text}, "defense_parameters": {"y": text}}
        return [
            *undefended(),
            record("none", "norm_clip", defense_parameters={"y": text}),
            record("boosted", "norm_clip", notes=[text], run_id=text, **chosen),
        ]

    tame, wild = parsed(hostile("harmless")), parsed(hostile(HOSTILE))
    assert wild.tags.count("script") == tame.tags.count("script") == 1
    assert wild.tags.count("b") == tame.tags.count("b")
    leaderboard.write("hostile", hostile(HOSTILE), tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("| boosted")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) <= 2


def test_the_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere():
    page = parsed(suite(seeds=1, rounds=10))
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link == "data:," or link[1:] in page.ids or link.startswith("records/"), link


def terminal(board: Leaderboard, width: int = 100) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(leaderboard.to_terminal(board))
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_terminal_tables_fit_and_lose_no_number(width):
    text = terminal(leaderboard.build(suite(rounds=10)), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    if width >= 80:
        (row,) = (line for line in lines if re.match(r" 6 +mean ", line))
        assert "92.8 ± 1.8" in row
