"""Users' own tables: what is exported is what the leaderboard is made from."""

import io
import json
import math
import re
from dataclasses import asdict

import pandas as pd
import pytest

from benchmark.cli.parser import main
from benchmark.leaderboard.build import build
from benchmark.leaderboard.latex import to_latex
from benchmark.results.table import runs
from benchmark.run.suite import Suite
from tests.support.synthetic import record, suite

T_OF_3_SEEDS = 4.302652729749464
"""The 0.975 quantile of Student's t with two degrees of freedom."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Results of a suite named smoke."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "results" / "smoke"
    (made / "records").mkdir(parents=True)
    (made / "failures").mkdir()
    records = suite(rounds=10)
    for run in records:
        run.write(made / "records" / f"{run.cell}.json")
    listed = [{"cell": run.cell, "overrides": run.overrides} for run in records]
    manifest = asdict(Suite.read("smoke")) | {"cells": listed, "schema_version": 1}
    (made / "suite.json").write_text(json.dumps(manifest))
    return made


def export(capsys, *arguments):
    status = main(["export", "smoke", *arguments])
    return status, capsys.readouterr()


def test_the_leaderboard_can_be_computed_again_from_the_csv_with_pandas_alone(folder, capsys):
    status, said = export(capsys)
    assert (status, said.err) == (0, "")
    table = pd.read_csv(io.StringIO(said.out))
    (section,) = build(suite(rounds=10)).sections
    over_seeds = table.groupby(["setting", "defense", "attack"])
    for (_, defense, attack), rows in over_seeds:
        cell = section.cell(attack, defense)
        for column, estimate in (
            ("main_accuracy.last_fifth", cell.main),
            ("backdoor_in_sample.last_fifth", cell.in_sample),
            ("backdoor_held_out.final", cell.final_held_out),
        ):
            half_width = T_OF_3_SEEDS * rows[column].std() / math.sqrt(3)
            assert rows[column].mean() == pytest.approx(estimate.mean, abs=1e-12)
            assert half_width == pytest.approx(estimate.half_width, abs=1e-12)
        plain = table[(table["defense"] == defense) & (table["attack.name"] == "none")]
        metric = "backdoor_in_sample.last_fifth"
        gain = rows.set_index("seed")[metric] - plain.set_index("seed")[metric]
        assert gain.mean() == pytest.approx(cell.lift.mean, abs=1e-12)
        assert rows["seconds_per_round"].median() == pytest.approx(cell.seconds)
    means = over_seeds["backdoor_in_sample.last_fifth"].mean().drop("none", level="attack")
    worst = means.groupby("defense").max()
    main = table.set_index(["defense", "attack", "seed"])["main_accuracy.last_fifth"].sort_index()
    lost = (main["mean", "none"] - main).groupby(["defense", "attack"])
    reach = (lost.mean() + T_OF_3_SEEDS * lost.std() / math.sqrt(3)).groupby("defense").max()
    ranked = [row.defense for row in section.defense_rows if row.rank]
    assert list(worst[reach <= 0.05].sort_values().index) == ranked


def test_parquet_holds_the_same_table(folder, capsys):
    status, said = export(capsys, "--format", "parquet", "--out", "a/table.parquet")
    assert (status, said.out) == (0, "")
    found = pd.read_parquet("a/table.parquet")
    pd.testing.assert_frame_equal(found, runs(suite(rounds=10)))


def test_chosen_columns_in_their_order_into_a_file(folder, capsys):
    assert export(capsys, "--columns", "seed,attack.name,cell", "--out", "t.csv")[0] == 0
    assert list(pd.read_csv("t.csv").columns) == ["seed", "attack.name", "cell"]
    assert [path.name for path in folder.parents[1].iterdir() if path.is_file()] == ["t.csv"]


def test_cells_without_a_record_are_rows_and_are_told_of(folder, capsys):
    diverged, lost = sorted((folder / "records").iterdir())[:2]
    for path in (diverged, lost):
        path.unlink()
    (folder / "failures" / f"{diverged.stem}.txt").write_text("FloatingPointError: round 3\n\nat")
    status, said = export(capsys)
    assert status == 0
    assert said.err == (
        "fedbackdoor: 2 cells of smoke have no record; python -m benchmark suite smoke\n"
    )
    found = pd.read_csv(io.StringIO(said.out)).set_index("cell")
    assert len(found) == len(suite())
    assert found.loc[diverged.stem, ["status", "reason", "seed"]].tolist() == [
        "diverged",
        "round 3",
        0,
    ]
    assert found.loc[lost.stem, "status"] == "missing"
    assert found.loc[lost.stem, ["reason", "attack", "main_accuracy.final"]].isna().all()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--columns", "cell,sed"], "no column 'sed' in this table; did you mean 'seed'?"),
        (["--columns", "cell,"], "no column ''"),
        (["--format", "xls"], "invalid choice: 'xls' (choose from 'csv', 'parquet', 'latex')"),
        (["--format", "parquet"], "name a file with --out"),
        (["--format", "latex", "--columns", "seed"], "--columns is of csv and parquet"),
        (["--columns", "sed", "--out", "t.csv"], "no column 'sed'"),
        (["--results", "elsewhere"], "no results; make them with"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, capsys, arguments, fault):
    status, said = export(capsys, *arguments)
    assert (status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert fault in said.err
    assert not (folder.parents[1] / "t.csv").exists()


def test_latex_shows_the_defenses_as_the_page_ranks_them_and_escapes(folder, capsys):
    status, said = export(capsys, "--format", "latex")
    assert status == 0
    lines = said.out.splitlines()
    assert lines[:2] == [
        r"\begin{table}",
        r"\caption{smoke: defenses by their worst attack, accuracies in percent over 3 seeds}",
    ]
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    (section,) = build(suite(rounds=10)).sections
    shown = [line.split(" & ") for line in body]
    assert [row[1].replace("\\", "") for row in shown] == [r.defense for r in section.defense_rows]
    assert [row[0] for row in shown] == ["1", "2", "3", "4", "5", "at the gate", "collapsed"]
    first = section.defense_rows[0]
    estimate = first.worst.in_sample
    assert shown[0][3] == rf"{100 * estimate.mean:.1f} $\pm$ {100 * estimate.half_width:.1f}"
    assert r"norm\_clip (norm\_bound=" in said.out
    assert not re.search(r"[^\\]_", said.out)


def test_latex_of_settings_and_of_one_seed():
    records = [
        record(attack, setting={"participation": {"frequency": f}})
        for attack in ("none", "boosted")
        for f in (1, 5)
    ]
    text = to_latex(build(records, "50% & more"))
    assert text.count(r"\toprule") == 2
    assert r"\caption{50\% \& more, participation.frequency=1: " in text
    assert "over 1 seed}" in text
    assert "& 1.0 &" in text
    assert r"\pm" not in text
