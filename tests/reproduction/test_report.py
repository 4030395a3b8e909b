"""The report of a reproduction, on evidence made up for it."""

import re
from dataclasses import replace

import pytest

from benchmark.config.plugins import available
from benchmark.report.numbers import NOTHING
from benchmark.reproduction import figures, output, verdict_text
from benchmark.reproduction.claim import Claim
from benchmark.reproduction.evidence import Failure
from benchmark.reproduction.lines import labeled
from benchmark.reproduction.readings import readings
from benchmark.reproduction.threat import threats
from benchmark.reproduction.verdict import judge
from benchmark.utils.errors import UserError
from tests.support.evidence import evidence, plausible


def rows(markdown, heading):
    """First cell → the other cells, of the last table below a heading."""
    section = re.split(r"(?m)^## ", markdown.split(f"\n## {heading}", 1)[1])[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return {row[0].strip(): row[1:] for row in cells}


def written(found, folder, **options):
    output.write(found, folder, **options)
    return (folder / "reproduction.md").read_text(), (folder / "reproduction.html").read_text()


def by_frequency(accuracies, random=0.2):
    """In-sample backdoor accuracy by f; ``random`` under random sampling."""

    def outcome(resolved, seed):
        frequency = resolved["participation"].get("frequency")
        value = random if frequency is None else accuracies.get(frequency, 0.1)
        if resolved["attack"]["name"] == "none":
            value = 0.01
        return {**plausible(resolved, seed), "backdoor_in_sample": value}

    return outcome


@pytest.fixture(scope="module")
def everything():
    return evidence()


@pytest.fixture(scope="module")
def texts(everything, tmp_path_factory):
    return written(everything, tmp_path_factory.mktemp("report"))


def test_numbers_are_those_of_the_records(tmp_path):
    def outcome(resolved, seed):
        scattered = {"backdoor_in_sample": 0.5 + 0.1 * seed, "backdoor_held_out": 0.3}
        return {**plausible(resolved, seed), "main_accuracy": 0.9, **scattered}

    markdown, html = written(evidence(outcome, suites=["fig1_participation"]), tmp_path)
    row = rows(markdown, "Figure 1")["f = 1"]
    # t(0.975, 2) = 4.303; the half-width is 4.303 · 0.1 / √3.
    assert row[:3] == ["90.0 ± 0.0", "60.0 ± 24.8", "30.0 ± 0.0"]
    assert "60.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}24.8" in html


@pytest.mark.slow
def test_cumulative_mean_is_that_of_all_rounds(tmp_path):
    found = evidence(suites=["fig1_participation"])
    line = next(x for x in found.lines["fig1_participation"] if x.choices[-1].endswith("=1"))
    values = [found.records[c].curves["backdoor_in_sample"].values for c in line.cells]
    mean = sum(sum(v) / len(v) for v in values) / len(values)
    markdown, _ = written(found, tmp_path)
    assert rows(markdown, "Figure 1")["f = 1"][3].startswith(f"{100 * mean:.1f} ±")


def test_threat_on_both_sides_of_half():
    accuracies = {1: 0.9, 2: 0.5, 3: 0.499}
    found = evidence(by_frequency(accuracies, random=0.499), suites=["fig1_participation"])
    fixed, random = threats(found)
    assert (fixed.participation, fixed.needed) == ("fixed frequency", 0.05)
    assert fixed.told == "5 % (5 of 100 users)"
    assert (random.participation, random.needed) == ("random sampling", None)
    assert random.told == "more than 10 % (10 of 100 users)"


def test_smallest_share_tried_is_an_upper_bound():
    found = evidence(by_frequency({}, random=0.6), suites=["fig1_participation"])
    fixed, random = threats(found)
    assert fixed.told == "more than 10 % (10 of 100 users)"
    assert random.told == "at most 1 % (1 of 100 users)"


def test_threat_counts_no_collapsed_and_no_incomplete_line():
    def outcome(resolved, seed):
        found = {**plausible(resolved, seed), "backdoor_in_sample": 0.9}
        if resolved["attack"]["name"] != "none":
            found["main_accuracy"] = 0.4
        return found

    def missing(resolved, seed):
        return resolved["participation"]["name"] == "random_sampling" and seed == 1

    (fixed,) = threats(evidence(outcome, suites=["fig1_participation"], missing=missing))
    assert fixed.tried == {}
    assert fixed.told == "unknown: the model collapsed or diverged"


def test_defense_is_as_good_as_against_the_best_attack():
    def outcome(resolved, seed):
        small = resolved["attack"].get("backdoor_batch") == "batch"
        return {**plausible(resolved, seed), "backdoor_in_sample": 0.9 if small else 0.1}

    found = evidence(outcome, suites=["fig4a_norm_clipping"])
    assert output.attacker(threats(found)).endswith("it takes at most 10 % (10 of 100 users).")


def test_collapsed_line_has_no_backdoor_number(tmp_path):
    def outcome(resolved, seed):
        found = plausible(resolved, seed)
        if resolved["defense"].get("noise_on") == "sum":
            found |= {"main_accuracy": 0.1, "backdoor_in_sample": 0.777, "backdoor_held_out": 0.777}
        return found

    markdown, html = written(evidence(outcome, suites=["fig4b_weak_dp"]), tmp_path)
    collapsed = [r for name, r in rows(markdown, "Figure 4b").items() if "sum" in name]
    assert collapsed == [["10.0 ± 0.0", "collapsed", "", ""]] * 2
    assert "77.7" not in markdown
    assert "77.7" not in html


def test_collapsed_line_is_drawn_without_its_backdoor(everything):
    figure = figures.accuracies(everything, "fig4b_weak_dp")
    drawn = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    collapsed = "\N{GREEK SMALL LETTER SIGMA} = 1.09 on the average (collapsed)"
    assert [collapsed in labels for labels in drawn] == [True, False, False]
    assert [len(labels) for labels in drawn] == [6, 4, 4]  # the first has the reference too


def test_sawtooth_lines_have_panels_of_their_own(everything):
    figure = figures.accuracies(everything, "fig1_participation")
    fixed = figure.axes[::2]
    drawn = [[line.get_label() for line in axes.lines] for axes in fixed]
    assert drawn[1:6] == [[f"f = {f}"] for f in (1, 2, 3, 5, 10)]
    assert len(figure.axes) == 14
    assert len(figures.accuracies(everything, "fig4a_norm_clipping").axes) == 9
    assert not figures.intermittent(labeled(everything, "lifetime"))


@pytest.mark.slow
def test_one_collapsed_seed_is_enough(tmp_path):
    def outcome(resolved, seed):
        found = plausible(resolved, seed)
        collapses = resolved["attack"]["name"] == "boosted" and seed == 2
        return found | ({"main_accuracy": 0.4} if collapses else {})

    markdown, _ = written(evidence(outcome, suites=["fig1_participation"]), tmp_path)
    assert rows(markdown, "Figure 1")["f = 1"][1] == "collapsed in 1 of 3 seeds"


def test_lines_have_the_symbols_of_the_field(everything):
    def names(suite):
        return [line.name for line in labeled(everything, suite)]

    frequencies = [f"f = {f}" for f in (1, 2, 3, 5, 10)]
    fractions = ["ε = 10 %", "ε = 5 %", "ε = 3.3 %", "ε = 2 %", "ε = 1 %"]
    assert names("fig1_participation") == frequencies + fractions
    assert names("fig3_tasks") == ["10 tasks", "20 tasks", "30 tasks", "50 tasks"]
    assert names("fig4a_norm_clipping")[::4] == [
        "no attack, M = 1.5",
        "attack, full batch, M = 2.5",
        "attack, small batches, M = 5",
    ]
    sigma = "\N{GREEK SMALL LETTER SIGMA}"
    assert names("fig4b_weak_dp")[:2] == ["clipping only", f"{sigma} = 0.172 on the average"]
    assert names("lifetime")[2:] == ["M = 5", f"M = 2.5, {sigma} = 0.172"]
    assert names("norms") == ["no attack, no defense"]


def test_lines_of_one_change_stand_beside_each_other(everything):
    assert [line.name for line in labeled(everything, "code_form")] == ["paper form", "code form"]
    weighting = labeled(everything, "weighting")
    assert [line.name for line in weighting] == [
        "no attack, uniform mean",
        "no attack, weighted by examples",
        "boosted attack, uniform mean",
        "boosted attack, weighted by examples",
    ]
    assert {line.column for line in weighting} == {"no attack", "boosted attack"}


def test_answer_counts_the_verdicts_of_the_table(everything, texts):
    markdown, html = texts
    table = markdown.split("\n## Verdicts", 1)[1].split("\n## ", 1)[0]
    words_found = re.findall(r"^\| .* \| \*\*([a-z ]+)\*\* \|", table, re.M)
    assert len(words_found) == len(everything.verdicts()) > 10
    n = {word: words_found.count(word) for word in set(words_found)}
    assert f"Of {len(words_found)} claims, {n['holds']} hold, {n['does not hold']} do" in markdown
    for word, count in n.items():
        assert html.count(f'"verdict {word.replace(" ", "-")}">{word}</strong>') >= count


def test_chain_shows_all_means_and_the_weakest_step():
    found = evidence(by_frequency({1: 0.9, 2: 0.6, 3: 0.5}), suites=["fig1_participation"])
    claim = Claim(
        name="order",
        text="",
        source="",
        suite="fig1_participation",
        metric="backdoor_in_sample",
        measure="last_fifth",
        given={"participation": "fixed_frequency"},
        order=[{"participation.frequency": f} for f in (1, 2, 3)],
        direction="higher",
        margin=0.05,
    )
    assert verdict_text.found(judge(claim, found.table, found.seeds, found.main)) == (
        "f = 1: 90.0 % > f = 2: 60.0 % > f = 3: 50.0 %. "
        "Weakest step, f = 2 against f = 3: +10.0 ± 0.0 points"
    )
    assert verdict_text.margin(claim) == "higher, by more than 5.0 points"
    number = replace(claim, order=[{"participation.frequency": 2}, 0.5])
    told = verdict_text.found(judge(number, found.table, found.seeds, found.main))
    assert told == "f = 2: 60.0 ± 0.0 %, against 50 %; difference +10.0 ± 0.0 points"


def test_norms_and_half_lives_keep_their_units(texts):
    markdown, _ = texts
    assert re.search(r"largest honest norm: 0\.\d+ ± [\d.]+, against 3;", markdown)
    assert re.search(r"M = 5: \d ± 0 rounds, against 10 rounds;", markdown)


def test_backdoor_that_outlives_the_run_has_a_lower_bound(texts):
    # Rounds 5 and 6 of ten are attacked; round 10, which is not run, is the fourth after them.
    assert rows(texts[0], "Lifetime")["M = 5"][-1] == "≥ 4 ± 0"


def test_readings_of_the_noise(everything, texts):
    verdicts = everything.verdicts()
    told = {r.name: r.word for r in readings(verdicts)}
    assert told == {
        "standard deviation 0.025 on the average": "holds",
        "standard deviation 0.025 on the sum": "does not hold",
        "variance 0.025 on the average": "does not hold",
        "variance 0.025 on the sum": "holds",
    }
    assert readings([]) == []
    assert "The model collapses with variance 0.025 on the average." in texts[0]


@pytest.mark.parametrize("seeds", [1, 3])
def test_noise_that_makes_the_model_diverge_is_refuted(everything, seeds: int):
    line = next(
        line
        for line in everything.lines["fig4b_weak_dp"]
        if f"defense.noise_std={everything.values['sum158']}" in line.choices
        and "defense.noise_on=sum" in line.choices
    )
    gone = line.cells[:seeds]
    found = replace(
        everything,
        records={k: r for k, r in everything.records.items() if k not in gone},
        failures={
            cell: Failure(r.seed, r.config, "FloatingPointError: round 3: not finite")
            for cell, r in everything.records.items()
            if cell in gone
        },
    )
    words = {v.claim.name: v.word for v in found.verdicts()}
    assert words["fig4bd_noise_mitigates_further"] == "not decidable"
    assert (found.missing, found.diverged) == ([], sorted(gone))
    assert replace(found, failures={}).missing == sorted(gone)
    assert words["fig4bd_noise_costs_little"] == ("undecided" if seeds == 1 else "does not hold")
    told = {r.name: r.word for r in readings(found.verdicts())}
    assert told["variance 0.025 on the sum"] == "does not hold"
    assert told["standard deviation 0.025 on the average"] == "holds"
    said = str(output.document(found))
    assert "diverges with variance 0.025 on the sum, which refutes that reading" in said
    assert ("diverged in 1 of 3 seeds" in said) == (seeds == 1)
    assert "Round 3: not finite" in said


def test_a_reading_is_judged_by_its_claims(everything):
    verdicts = [
        replace(v, word="undecided") if v.claim.name.startswith("fig4b") else v
        for v in everything.verdicts()
    ]
    assert {r.word for r in readings(verdicts)} == {"undecided"}


def test_missing_runs_are_named(tmp_path):
    def missing(resolved, seed):
        return resolved["participation"].get("frequency") == 5 and seed == 1

    found = evidence(suites=["fig1_participation"], missing=missing)
    markdown, _ = written(found, tmp_path)
    (cell,) = found.missing
    assert f"No record: `{cell}`. It was not run." in markdown
    assert "**1** of 33 federations have no record" in markdown
    assert "f = 5 (1 missing)" in rows(markdown, "Figure 1")


def test_all_runs_of_a_line_missing(tmp_path):
    def missing(resolved, seed):
        return resolved["attack"]["name"] == "boosted"

    found = evidence(suites=["fig1_participation", "code_form"], missing=missing)
    markdown, _ = written(found, tmp_path)
    assert rows(markdown, "Figure 1")["f = 1 (3 missing)"][:2] == [NOTHING, "missing"]
    assert not (tmp_path / "reproduction" / "fig1_participation.png").exists()


def test_what_was_not_checked_is_said(everything, texts):
    section = texts[0].split("\n## What could not be checked here", 1)[1]
    assert "Nothing here was run on a GPU." in section
    assert "The federations ran 10 rounds; the paper's about 300." in section
    assert "Main accuracy was measured every" not in section
    for verdict in everything.verdicts():
        assert (verdict_text.found(verdict) in section.replace("\\", "")) == (
            not verdict.comparisons
        )
    cost = replace(next(iter(everything.records.values())).cost, device="NVIDIA H200")
    records = {name: replace(r, cost=cost) for name, r in everything.records.items()}
    on_gpu = output.document(replace(everything, records=records))
    assert "GPU" not in str(on_gpu)


def test_main_accuracy_in_step_with_the_attack_is_said(everything):
    def every_fifth(record):
        federation = record.config["federation"] | {"evaluate_every": 5}
        return replace(record, config=record.config | {"federation": federation})

    records = {name: every_fifth(r) for name, r in everything.records.items()}
    said = str(output.document(replace(everything, records=records)))
    assert "Main accuracy was measured every 5 rounds" in said


def test_nothing_to_report_on_is_said():
    with pytest.raises(UserError, match="no records"):
        output.write(replace(evidence(suites=["norms"]), records={}), None)


def test_page_needs_nothing_else(texts):
    _, html = texts
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', html)
    outside = {link for link in links if not link.startswith(("#", "data:,"))}
    assert outside == {"https://arxiv.org/abs/1911.07963"}
    assert html.count("<script") == 1  # the copy buttons, which the policy allows by their hash
    assert html.count("<svg") == len(available("reproduction"))


@pytest.mark.slow
def test_markdown_shows_every_figure_that_was_written(tmp_path):
    paths = output.write(evidence(suites=["fig3_tasks", "weighting"]), tmp_path)
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (tmp_path / "reproduction.md").read_text())
    assert len(shown) == 3
    assert {tmp_path / name for name in shown} == {p for p in paths if p.suffix == ".png"}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in shown)


@pytest.mark.slow
def test_same_evidence_same_bytes(tmp_path):
    found = evidence(suites=["fig4a_norm_clipping"])
    shuffled = replace(found, records=dict(reversed(found.records.items())))
    one, other = output.write(found, tmp_path / "a"), output.write(shuffled, tmp_path / "b")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_users_that_are_no_writers_are_announced(tmp_path, texts):
    assert "**The users are not real writers.**" in texts[0]
    markdown, _ = written(evidence(suites=["norms"], user_kind="writers"), tmp_path)
    assert "not real writers" not in markdown


def test_what_comes_from_records_is_escaped(tmp_path):
    found = evidence(suites=["norms"], user_kind="<b>|users</b>")
    found = replace(found, description="<script>alert(1)</script>")
    markdown, html = written(found, tmp_path, discussion="<img src=x> **bold** `a<b`")
    assert "<script>alert" not in html
    assert "<b>" not in html
    assert "<img" not in html
    assert "<strong>bold</strong> <code>a&lt;b</code>" in html
    assert "<script" not in markdown
    assert "&lt;b&gt;\\|users" in markdown


def test_discussion_stands_at_the_end_or_nowhere(tmp_path, texts):
    assert "Discussion" not in texts[0] + texts[1]
    markdown, html = written(evidence(suites=["norms"]), tmp_path, discussion="It *holds*.\n")
    assert markdown.endswith("\n## Discussion\n\nIt *holds*.\n")
    assert "<p>It <em>holds</em>.</p>" in html
