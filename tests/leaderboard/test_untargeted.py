"""Untargeted attacks have a table of their own, and touch nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import leaderboard
from benchmark.leaderboard.board import Section
from benchmark.leaderboard.output import to_html, to_json, to_markdown
from benchmark.results.table import runs
from benchmark.run.record import Record
from tests.support.synthetic import only, record, suite, terminal

HARM = {"main_accuracy": 0.1, "backdoor_in_sample": 1.0, "backdoor_held_out": 1.0}


def harmful(
    attack: str, defense: str, main: float, seeds: tuple[int, ...] = (0, 1, 2)
) -> list[Record]:
    return [
        replace(
            record(
                attack,
                defense,
                seed,
                metrics={**HARM, "main_accuracy": main + seed / 100},
                setting={"federation": {"rounds": 60}},
            ),
            goal="untargeted",
        )
        for seed in seeds
    ]


def strangers() -> list[Record]:
    """Under which every defense would be out, on seeds of their own and a defense of their own."""
    known = harmful("alie", "mean", 0.2) + harmful("ipm", "mean", 0.4)
    return known + harmful("alie", "median", 0.8, (7, 8))


def judged(section: Section) -> tuple[object, ...]:
    names = ("reference", "seeds", "attacks", "defenses", "defense_rows", "attack_rows", "cells")
    return tuple(getattr(section, name) for name in (*names, "unattacked", "undefended", "tuned"))


def test_nothing_that_is_judged_changes() -> None:
    without = only(suite())
    beside = only([*strangers(), *suite()])
    assert judged(beside) == judged(without)
    assert not without.untargeted
    assert not any(run.below_gate for cell in beside.untargeted for run in cell.runs)


def test_the_table_has_what_each_attack_leaves_beside_the_unattacked_model() -> None:
    records = [*strangers(), *suite()]
    section = only(records)
    cells = {(c.defense, c.attack): c for c in section.untargeted}
    assert cells["mean", "alie"].main.mean == pytest.approx(0.21)
    assert cells["mean", "alie"].main.half_width == pytest.approx(0.0248, abs=1e-4)
    assert cells["median", "alie"].missing == [0, 1, 2]
    assert not cells["median", "ipm"].runs
    board = leaderboard.build(records)
    text = terminal(board, 140)
    table = text[text.index("main accuracy under untargeted attacks") :]
    rows = [line.split() for line in table.splitlines() if re.search(r"\d\.\d", line)]
    assert rows[0][0] == "median"
    usual = f"{100 * section.cell('none', 'mean').main.mean:.1f}"
    assert [word in " ".join(rows[1]) for word in ("mean", usual, "21.0", "alie")] == [True] * 4
    markdown = to_markdown(board)
    assert "### Untargeted attacks" in markdown
    html = to_html(board, records)
    anchors = set(re.findall(r'id="([^"]+)"', html))
    links = set(re.findall(r'href="#(cell-[^"]+)"', html))
    assert len(links) > len(section.cells)
    assert links <= anchors
    assert '"untargeted"' in to_json(board)
    assert '"untargeted"' not in to_json(leaderboard.build(suite()))


@pytest.mark.parametrize("unattacked", [True, False])
def test_alone_they_are_all_there_is(unattacked: bool) -> None:
    records = strangers() + [r for r in suite() if unattacked and r.cell.startswith("none")]
    board = leaderboard.build(records)
    (section,) = board.sections
    assert not section.is_backdoored
    for text in (terminal(board), to_markdown(board), to_html(board, records)):
        assert "untargeted" in text.lower()
        assert "never attacked" not in text
        assert not re.search("Ranked by|Accuracy gate|usable|Lift:", text)


def test_the_record_says_what_the_attack_wants(tmp_path: Path) -> None:
    (told, *_), plain = strangers(), record("boosted")
    for one in (told, plain):
        one.write(path := tmp_path / f"{one.cell}.json")
        assert Record.read(path).goal == one.goal
    # Records of before there were other goals keep their checksum.
    assert "goal" not in plain.result()
    assert told.result()["goal"] == "untargeted"
    assert sorted(runs([told, plain])["goal"]) == ["backdoor", "untargeted"]
