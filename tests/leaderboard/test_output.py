"""What is written, and how it looks in a terminal."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchmark import leaderboard
from tests.support.synthetic import GOLDEN, golden_cases, record, suite, terminal, undefended


@pytest.mark.parametrize("name", ["leaderboard", "leaderboard-mixed"])
def test_golden_files(name):
    """After a change that is meant: ``python -m tests.support.synthetic --update``."""
    board = leaderboard.build(golden_cases()[name], name)
    assert leaderboard.to_json(board) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert leaderboard.to_markdown(board) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@given(st.permutations(golden_cases()["leaderboard-mixed"] + suite(seeds=2, rounds=10)[:20]))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_of_records_does_not_matter(records):
    board = leaderboard.build(records)
    expected = leaderboard.build(sorted(records, key=lambda r: r.cell))
    assert leaderboard.to_json(board) == leaderboard.to_json(expected)
    assert terminal(board) == terminal(expected)


@pytest.mark.slow
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
        assert "costs at most 5 points of main accuracy" in plain
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
    assert "<script>" not in MarkdownIt("commonmark").enable("table").render(markdown)
    tables = [line for line in markdown.splitlines() if line.startswith("| boosted")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) <= 2


def test_the_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere():
    page = parsed(suite(seeds=1, rounds=10))
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link == "data:," or link[1:] in page.ids or link.startswith("records/"), link


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_terminal_tables_fit_and_lose_no_number(width):
    text = terminal(leaderboard.build(suite(rounds=10)), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    if width >= 80:
        (row,) = (line for line in lines if re.match(" \N{EN DASH} +mean ", line))
        assert "92.8 ± 1.8" in row


def test_json_holds_every_number_of_the_tables_and_intervals_of_shares_that_stay_shares():
    value = json.loads(leaderboard.to_json(leaderboard.build(suite(rounds=10))))
    (section,) = value["sections"]
    assert section["floor"] == pytest.approx(section["reference"]["mean"] - 0.05, abs=1e-6)
    for cell in section["cells"]:
        for name in ("main", "in_sample", "held_out", "final_in_sample"):
            low, high = cell[name]["interval"]
            assert 0 <= low <= cell[name]["mean"] <= high <= 1
        assert "interval" not in cell["loss"]
    (last,) = (row for row in section["defense_rows"] if row["status"] == "at the gate")
    loss = last["dearest"]["loss"]
    assert abs(loss["mean"] - 0.05) < loss["half_width"]
