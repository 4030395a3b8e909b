"""The paper's experiments at a scale: its numbers, suites and claims, and a run of some of them."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import compose
from benchmark.config.plugins import available
from benchmark.reproduction.claim import OWN
from benchmark.reproduction.evidence import Evidence, claims
from benchmark.reproduction.profile import Profile, fill, norm_unit, suites, values
from benchmark.results.table import fitting, no_record, runs
from benchmark.utils.errors import UserError
from tests.support.running import TINY, call, files


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return values({"rounds": 40, "clients_per_round": 10}, 30, 56_970, 0.4)


def test_what_names_stand_for(known: dict[str, Any]):
    assert (known["norm2"], known["M3"]) == (0.8, 0.4)
    assert known["epsilon5"] == 0.02
    assert known["window"] == [20, 30]
    assert known["watched"] == [10, 20]
    assert norm_unit(0.444) == 0.4


@pytest.mark.parametrize("K", [10, 30, 100])
def test_one_client_moves_the_average_as_far_as_in_the_paper(K: int):
    """In units of honest norms; and the noise that reaches the average is as long beside that."""
    known = values({"rounds": 40, "clients_per_round": K}, 30, 56_970, 0.4)
    assert known["M5"] / K / 0.4 == pytest.approx(5 / 30, rel=0.01)
    push, length = known["M5"] / K, 56_970**0.5
    paper = 0.025 * 1_199_882**0.5 / (5 / 30)
    assert known["std025"] * length / push == pytest.approx(paper, rel=0.01)
    assert known["sum025"] / K * length / push == pytest.approx(paper / 30, rel=0.01)


def test_every_entry_of_every_claim_names_one_point_of_a_suite(known: dict[str, Any]):
    """A typing error in a claim would make it undecidable for ever."""
    profile = Profile.read("quick")
    points = {
        name: runs(
            [],
            [
                no_record(str(i), 0, config=compose([*suite.overrides, *point]))
                for i, point in enumerate(suite.points())
            ],
        )
        for name, suite in suites(profile, known).items()
    }
    assert points.keys() == set(available("reproduction"))
    for each in claims(known):
        assert each.suite in points
        for entry in each.order:
            if isinstance(entry, dict):
                wanted = {k: v for k, v in each.runs(entry).items() if k not in OWN}
                found = fitting(points[each.runs(entry)["suite"]], wanted)
                assert len(found) > 1 if each.pool else len(found) == 1, (each.name, entry)


def test_names_are_filled_in(known: dict[str, Any]):
    raw = {"a": ["x=$M3", "$window"], "b": 1}
    assert fill(raw, known, "here") == {"a": ["x=0.4", [20, 30]], "b": 1}
    assert fill("w=$window", known, "here") == "w=[20,30]"
    with pytest.raises(UserError, match=r"no name '\$M4' in here; .*valid: \$M10"):
        fill("$M4", known, "here")


# The verbs

FAST = [t for t in TINY if not t.startswith(("data=", "task."))]


def reproduce(capsys: pytest.CaptureFixture[str], *further: str) -> Evidence:
    answer = call(capsys, "reproduce", "quick", *FAST, *further, "--only", "code_form")
    assert answer.status == 0, answer.err
    return Evidence.read(Path("results/reproduction-quick/evidence.json.gz"))


@pytest.mark.slow
def test_norms_are_measured_first_and_the_rest_follows(
    workplace: Path, capsys: pytest.CaptureFixture[str]
):
    evidence = reproduce(capsys)
    assert evidence.lines.keys() == {"norms", "code_form"}
    assert evidence.missing == []
    assert evidence.seeds == [0, 1, 2]
    norms = [r for line in evidence.lines["norms"] for r in evidence.of(line)]
    medians = sorted(v for r in norms for v in r.curves["honest_norm_median"].values)
    assert len(medians) == 9
    assert evidence.unit == norm_unit(medians[4])
    assert evidence.values["M10"] == pytest.approx(10 * evidence.unit * 3 / 30, rel=0.01)
    words = {v.claim.name: v.word for v in evidence.verdicts()}
    assert words["norms_rarely_above_2"] != "not decidable"
    assert "fig3_more_tasks" not in words
    folder = workplace / "results" / "reproduction-quick"
    assert {"reproduction.md", "reproduction.html", "evidence.json.gz"} <= files(folder)

    before = {p: p.stat().st_mtime_ns for p in (folder / "records").iterdir()}
    again = reproduce(capsys)
    assert again.records == evidence.records
    assert {p: p.stat().st_mtime_ns for p in (folder / "records").iterdir()} == before

    copy = workplace / "copy.json.gz"
    evidence.write(copy)
    first = copy.read_bytes()
    Evidence.read(copy).write(copy)
    assert copy.read_bytes() == first
    assert call(capsys, "report", copy, "--out", "out").status == 0
    markdown = (folder / "reproduction.md").read_bytes()
    assert (workplace / "out" / "reproduction.md").read_bytes() == markdown


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["reproduce", "papre"], "no profile 'papre'; did you mean 'paper'?"),
        (["reproduce", "quick", "--only", "fig5"], "no suite 'fig5' in conf/reproduction"),
        (["reproduce", "quick", "attack=boostde"], "no attack 'boostde'; did you mean 'boosted'"),
        (["reproduce", "quick", "--workers", "0"], "--workers must be at least 1, got 0"),
        (
            ["suite", "fig3_tasks"],
            "reproduce PROFILE --only fig3_tasks; valid: paper, qmnist, quick",
        ),
        (["report", "none.json.gz"], "none.json.gz: no such file; python -m benchmark reproduce"),
        (["report", "damaged.gz"], "damaged.gz: not the evidence of a reproduction"),
        (
            ["report", "other.gz"],
            "other.gz: not the evidence of a reproduction: of schema version 0, this program reads",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
):
    import gzip

    Path("damaged.gz").write_bytes(gzip.compress(b"{}")[:-3])
    Path("other.gz").write_bytes(gzip.compress(b'{"schema_version": 0}'))
    before = files(workplace)
    assert fault in call(capsys, *arguments).fault
    assert files(workplace) == before
