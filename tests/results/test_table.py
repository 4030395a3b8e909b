"""The table of runs: its columns, its labels, and what is read from it again."""

import random
from pathlib import Path

import pandas as pd
import pytest

from benchmark.results.columns import COLUMNS, FAMILIES
from benchmark.results.measures import MEASURES
from benchmark.results.table import by_seed, fitting, no_record, runs
from tests.support import measured
from tests.support.synthetic import record, suite

PAGE = Path(__file__).parents[2] / "docs" / "table.md"


def test_it_is_the_same_whatever_the_order_of_the_records():
    records = suite(seeds=2)
    mixed = random.Random(0).sample(records, len(records))
    pd.testing.assert_frame_equal(runs(records), runs(mixed))


def test_every_stated_column_is_there_with_its_type_even_without_runs():
    dtypes = {"text": "str", "integer": "int64", "number": "float64"}
    for table in (runs([]), runs([record()])):
        for column, stated in zip(table.columns, COLUMNS, strict=False):
            assert (column, str(table[column].dtype)) == (stated.name, dtypes[stated.dtype])


def test_a_run_tells_its_configuration_its_scores_and_where_it_is_from():
    run = record(
        "boosted", "norm_clip", 3, defense_parameters={"norm_bound": 0.5}, notes=["a", "b"]
    )
    (row,) = runs([run]).to_dict("records")
    assert row["status"] == "finished"
    assert (row["setting"], row["attack"]) == ("all", "boosted")
    assert row["defense"] == "norm_clip (norm_bound=0.5)"
    assert (row["defense.name"], row["defense.norm_bound"]) == ("norm_clip", 0.5)
    assert (row["seed"], row["data.users"], row["federation.rounds"]) == (3, 100, 60)
    assert row["seconds_per_round"] == pytest.approx(0.12)
    assert row["record"] == f"records/{run.cell}.json"
    assert (row["command"], row["notes"]) == (run.command, "a\nb")
    assert pd.isna(row["mlflow_run_id"])


def test_every_measure_of_every_metric_is_a_column_and_what_is_missing_is_nan():
    run = measured.record(0, [0.0, 0.6, 0.2, 0.8], attacked=[1, 3])
    row = runs([run]).iloc[0]
    for metric in run.curves:
        for name, measure in MEASURES.items():
            value = measure(run, metric)
            found = row[f"{metric}.{name}"]
            assert pd.isna(found) if value is None else found == value
    assert by_seed(runs([record()]), "main_accuracy", "sawtooth") == {}
    assert by_seed(runs([record()]), "unknown", "final") == {}


def test_runs_without_a_record_are_diverged_or_missing():
    absent = [
        no_record("b", 1, "FloatingPointError: round 3", {"defense": {"name": "mean"}}),
        no_record("a", 0),
        no_record("c", 2, "its worker died"),
    ]
    table = runs([], absent)
    assert list(table["cell"]) == ["a", "b", "c"]
    assert list(table["status"]) == ["missing", "diverged", "missing"]
    assert list(table["reason"].fillna("")) == [
        "",
        "round 3",
        "its worker died",
    ]
    assert list(table["main_accuracy.last_fifth"].dropna()) == [0]
    assert list(fitting(table, {"defense": "mean"})["cell"]) == ["b"]


def test_fitting_takes_names_parameters_lists_and_what_is_not_set():
    bounds = [0.5, 3, None]
    window = {"participation": {"window": [0, 5]}}
    records = [
        record("boosted", "norm_clip" if bound else "mean", i, resolved={"rounds": "all"})
        for i, bound in enumerate(bounds)
    ]
    for run, bound in zip(records, bounds, strict=True):
        run.config["defense"] |= {"norm_bound": bound} if bound else {}
    records += [record("none", seed=7, setting=window)]
    table = runs(records)

    def seeds(**wanted):
        return list(fitting(table, {k.replace("__", "."): v for k, v in wanted.items()})["seed"])

    assert sorted(seeds(defense="norm_clip")) == [0, 1]
    assert seeds(defense__norm_bound=3.0) == [1]
    assert sorted(seeds(defense__norm_bound=None)) == [2, 7]
    assert seeds(participation__window=[0, 5]) == [7]
    assert sorted(seeds(attack__rounds="all")) == [0, 1, 2]
    assert seeds(attack__rounds=10, seed=0) == []
    assert seeds(unknown="x") == []
    assert len(seeds(unknown=None)) == 4


def test_the_page_about_columns_says_what_the_program_says():
    page = PAGE.read_text(encoding="utf-8")
    for column in (*COLUMNS, *FAMILIES):
        assert f"| `{column.name}` | {column.dtype} | {column.unit} | {column.meaning} |" in page
    for name in MEASURES:
        assert f"| `{name}` |" in page
