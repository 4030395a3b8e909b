"""Missing runs, settings and labels."""

from dataclasses import replace

import pytest

from benchmark import leaderboard
from benchmark.config.named_setting import NamedSetting
from benchmark.results.settings import choice
from benchmark.utils.errors import UserError
from tests.support.synthetic import only, pair, record, terminal, undefended


def statuses(section):
    return [(row.rank, row.defense, row.status) for row in section.defense_rows]


# --- what is missing


def test_a_defense_that_did_not_face_an_attack_is_not_ranked():
    records = [*undefended(), *(record("none", "norm_clip", seed) for seed in (0, 1))]
    records += pair("norm_reject", attacked={"backdoor_in_sample": 0.4})
    section = only(records)
    assert statuses(section) == [
        (1, "norm_reject", "ranked"),
        (2, "mean", "ranked"),
        (None, "norm_clip", "incomplete"),
    ]
    assert section.defense_rows[2].reason == "not run: boosted"
    assert sum(len(cell.missing) for cell in section.cells) == 2
    assert (section.attack_rows[0].rank, section.attack_rows[0].missing) == (None, 2)


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
    records = undefended() + pair("norm_clip")
    for blind in (records[-1], records[-3]):
        del blind.summary["backdoor_in_sample"], blind.curves["backdoor_in_sample"]
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


def test_named_settings_are_called_by_their_names():
    """Where all overrides of the setting were given; a name that two share tells nothing."""
    digits, femnist = (NamedSetting.read(name).overrides for name in ("digits5k", "femnist62"))
    other = {"data": {"name": "femnist"}}
    own = replace(record(), overrides=[*digits, "attack=none"])
    far = replace(record(setting=other), overrides=[*femnist, "data.path=x"])
    (alone,) = leaderboard.build([own]).sections
    assert (alone.setting.name, alone.setting.label) == ("digits5k", "")
    assert "## digits5k" in leaderboard.to_markdown(leaderboard.build([own]))
    other_rate = [*digits, "federation.client_lr=0.5", "engine.workers=2", "seed=1"]
    (alone,) = leaderboard.build([replace(own, overrides=other_rate)]).sections
    assert alone.setting.name == "digits5k with federation.client_lr=0.5"
    assert [s.setting.label for s in leaderboard.build([far, own]).sections] == [
        "digits5k",
        "femnist62",
    ]
    longer = record(setting={"federation": {"rounds": 300}})
    for overrides in (digits, digits[1:]):
        board = leaderboard.build([own, replace(longer, overrides=overrides)])
        assert [s.setting.label for s in board.sections] == [
            "federation.rounds=300",
            "federation.rounds=60",
        ]
