"""The benchmarks at toy size: they run, and what they write is what they say."""

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from torch import nn

from bench import (
    aggregators,
    attackers,
    choosing,
    color,
    cost,
    engines,
    figure,
    gpu,
    late,
    learning,
    memory,
    neighbor,
    overhead,
    pictures,
    publish,
    rules,
    samplers,
    scaling,
)
from bench.measure import Spread, Variant, interleave, training_flops
from bench.peers import our_rules, served
from bench.report import RESULTS, Result, Table, markdown, read, shown
from bench.variants import ENGINES, NAIVE, NAIVE_ONE, TRAINER, ready
from bench.workload import Workload, naive, named, paper_shaped, trainer_each
from benchmark.config.compose import compose
from benchmark.engine import auto
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.run.assembly import build
from benchmark.run.trainer import fit

pytestmark = pytest.mark.usefixtures("workplace")


def toy(script: Any, *further: str) -> dict[str, Any]:
    """What a script writes at toy size."""
    path = script.main(["--toy", "--out", "out", *further])
    written = json.loads(path.read_text(encoding="utf-8"))
    name = script.__name__.partition(".")[2]
    assert path == Path("out") / f"{name}.json"
    assert written["name"] == name
    facts = written["facts"]
    assert facts["command"] == " ".join([f"python -m {script.__name__} --toy --out out", *further])
    assert facts["device"]
    assert facts["versions"]["torch"] == torch.__version__
    for table in written["tables"]:
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    return written["data"]


def test_engines_are_timed_beside_the_naive_loop(capsys: pytest.CaptureFixture[str]):
    data = toy(engines)
    rows = {row["variant"]: row for row in data["rows"]}
    assert set(rows) == {NAIVE, NAIVE_ONE, TRAINER, *ENGINES}
    base = statistics.median(rows[NAIVE]["seconds"])
    for row in rows.values():
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) > 0
        assert row["flops"] == 2 * 2 * 4 * small_flops()
        middle = statistics.median(row["seconds"])
        assert row["speed"] == pytest.approx(base / middle)
        rate = row["flops"] / middle / 1e9
        assert row["peak_fraction"] == pytest.approx(rate / max(data["gemm_gflops"]))
        best = row["best_fraction"] * min(row["seconds"])
        assert best == pytest.approx(row["peak_fraction"] * middle)
    assert len(data["gemm_gflops"]) == 3
    assert NAIVE in capsys.readouterr().out


def test_ways_to_train_a_residual_network_are_timed_beside_each_other():
    data = toy(color)
    assert set(data["steps"]) == {"as it comes", "channels innermost"}
    assert set(data["round"]) == {"round", "reading"}
    assert min(min(values) for values in [*data["steps"].values(), *data["round"].values()]) > 0


def test_the_choice_of_auto_is_timed_with_nothing_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[set[str]] = []
    fastest = auto.fastest
    monkeypatch.setattr(auto, "fastest", lambda works: asked.append(set(works)) or fastest(works))
    monkeypatch.chdir(tmp_path)
    toy(choosing)
    # By now the answer is known, and is asked for all the same.
    del asked[:]
    (((took, chose),),) = toy(choosing).values()
    assert took > 0
    assert len(asked) == 1
    assert chose in asked[0]


def test_every_rule_of_an_attack_is_timed_beside_an_honest_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (taken,) = toy(rules).values()
    assert len(taken) == 10
    assert min(min(times) for times in taken.values()) > 0


def test_what_an_attacker_does_is_clocked_beside_honest_lanes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    taken = toy(attackers)["small"]["data_poisoning"]
    assert taken.keys() == {attackers.HONEST, attackers.OWN}
    assert all(len(seconds) == 1 and min(seconds) > 0 for seconds in taken.values())


def test_clocks_change_no_bit_where_an_attack_trains_to_craft():
    config = compose(
        [
            *("attack=chameleon", "attack.contrastive_epochs=1", "task=pattern", "data=digits5k"),
            *("model=small", "engine=cpu", "tracking=none", "federation.rounds=2"),
            *(f"federation.clients_per_round={attackers.K}", "federation.local_epochs=1"),
        ]
    )
    dataset, found = paper_shaped(attackers.K, 20), []
    for callbacks in ([], [attackers.Clocks()]):
        run = build(config, dataset)
        fit(run, dataset, "cpu", callbacks)
        found.append(run.theta.detach())
    assert torch.equal(*found)


def test_late_attacks_are_timed_with_and_without_what_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    taken = toy(late)
    assert taken.keys() == {"shared", "from round 0"}
    assert min(taken.values()) > 0


def test_the_cost_of_a_campaign_is_told_from_two_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    found = toy(cost)
    told = found["costs"]["digits5k"]
    assert told["round"] > 0
    assert told["checkpoint"] > told["weights"] > told["record"] > 0
    ((suite, said, took, times),) = found["checks"]
    assert suite == "default, seed 0: 2 cells"
    assert times == pytest.approx(took / said)


def test_a_setting_learns_beside_a_centralized_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = toy(learning)
    # 4 rounds of 10 of 100 users, 5 epochs each, are 2 passes.
    assert [list(found[run]["main_accuracy"]) for run in ("clean", "attacked", "central")] == [
        ["1", "3"],
        ["1", "3"],
        ["0", "1"],
    ]
    assert found["clean"]["main_accuracy"] != found["attacked"]["main_accuracy"]
    # A pass over all images, not over one user's forty.
    assert found["central"]["main_accuracy"]["0"] > 0.5
    (table,) = read(tmp_path / "out", "learning").tables
    assert [row[:2] for row in table.rows] == [[2, 1.0], [4, 2.0]]
    assert table.rows[1][2] == 100 * found["clean"]["main_accuracy"]["3"]
    assert table.rows[1][5] == 100 * found["central"]["main_accuracy"]["1"]


def test_operations_of_a_cifar10_federation():
    # 500 rounds of 10 clients, 2 epochs of 500 images, ResNet-18 at 1.1 GFLOP forward.
    assert cost.cifar10_flops() == pytest.approx(500 * 10 * 2 * 500 * 3 * 1.11e9, rel=0.02)


def small_flops() -> int:
    """Of one example: every multiply-add twice; forward, and backward to weights and inputs."""
    first, *others = (12 * 12 * 16 * 25, 5 * 5 * 32 * 9 * 16, 800 * 64, 64 * 10)
    return 2 * (2 * first + 3 * sum(others))


def test_the_papers_round_takes_as_many_operations_as_the_design_says():
    examples = 30 * 25 * 20
    first, *others = (26 * 26 * 32 * 9, 24 * 24 * 64 * 9 * 32, 9216 * 128, 128 * 10)
    counted = examples * training_flops(PaperCNN())
    assert counted == examples * 2 * (2 * first + 3 * sum(others))
    assert counted == pytest.approx(1.07e12, rel=0.005)
    assert training_flops(SmallCNN(), batch=3) == 3 * small_flops()


def test_all_loops_and_engines_do_the_same_work():
    # As many images as in a batch: the order then changes nothing but rounding.
    work = Workload.of("small", clients=2, images=6, epochs=3, batch=6)
    expected = ready(ENGINES["engine reference"], work).engine.train(work.theta, work.plan).updates
    assert expected.norm() > 0
    for loop in (naive, trainer_each):
        assert (loop(work, range(2)) - expected).norm() < 1e-3 * expected.norm()


def test_a_cohort_has_the_papers_shape():
    work = Workload.of("paper", clients=3)
    assert [lane.sizes for lane in work.plan.lanes] == [(20,) * 25] * 3
    assert [lane.sizes for lane in work.brief.lanes] == [(20,) * 4] * 3
    assert any(isinstance(layer, nn.Dropout) for layer in work.model.modules())
    assert torch.equal(work.theta, nn.utils.parameters_to_vector(named("paper").parameters()))
    data = paper_shaped(users=3, images=50, test_images=10)
    assert data.num_users == 3
    assert data.test.offsets.tolist() == [0, 3, 6, 10]
    for user in range(3):
        images = data.train.images[data.train.user(user)]
        assert len(images.flatten(1).unique(dim=0)) == 50


def test_variants_take_turns_and_warm_up_first():
    calls: list[str] = []
    variants = [
        Variant("often", lambda: calls.append("a"), 3, lambda: calls.append("A")),
        Variant("once", lambda: calls.append("b"), 1),
    ]
    taken = interleave(variants, between=lambda: calls.append("|"))
    assert "".join(calls) == "A|ab|a|a"
    assert {name: len(values) for name, values in taken.items()} == {"often": 3, "once": 1}


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(3, 2, 4, 5)
    assert Spread.of([7.0]) == Spread(7, 7, 7, 1)


def test_a_clock_leaves_out_what_is_clocked_inside():
    now = iter([0.0, 2.0, 5.0, 10.0])
    clock = overhead.Clock(lambda: next(now))
    inner = clock.clocked("inner", lambda: None)
    clock.clocked("outer", lambda: inner())()
    assert clock.spent == {"inner": 3.0, "outer": 7.0}


def test_a_clock_is_read_while_what_it_clocks_still_runs():
    now = iter([0.0, 2.0, 5.0, 6.0, 10.0, 11.0, 12.0])
    clock = overhead.Clock(lambda: next(now))
    seen = []
    inner = clock.clocked("inner", lambda: None)
    reading = clock.clocked("inner", lambda: seen.append(clock.read()))
    clock.clocked("outer", lambda: (inner(), reading()))()
    assert seen == [{"inner": 7.0, "outer": 3.0}]
    assert clock.spent == {"inner": 8.0, "outer": 4.0}


@pytest.mark.slow
def test_overhead_adds_up_to_a_round():
    small = toy(overhead)["small"]
    (tracked,), (untracked,) = small["tracked"], small["untracked"]
    for part in set(overhead.PARTS) - {overhead.TRACKING}:
        assert tracked["parts"][part] > 0
        assert untracked["parts"][part] > 0
    assert tracked["finish_seconds"] > 0
    assert untracked["finish_seconds"] == 0
    assert sum(untracked["parts"].values()) == pytest.approx(untracked["seconds"])
    counted = sum(small["shares"][part] for part in overhead.COUNTED)
    assert small["counted"] == pytest.approx(counted)


def test_scaling_covers_cohort_parameters_and_users():
    data = toy(scaling)
    assert [p["size"] for p in data["cohort"] if p["variant"] == NAIVE] == [1, 2]
    sizes = [p["size"] for p in data["parameters"] if p["variant"] == "engine cpu"]
    assert sizes[1] == 56_970
    assert [p["size"] for p in data["users"]] == [40, 80]
    assert all(min(p["seconds"]) > 0 for points in data.values() for p in points)


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own():
    grown = toy(memory)["growth"]
    assert len(grown["resident"]) == 4
    assert 0 < grown["before"] < min(grown["resident"]) * 1.5
    assert grown["peak"] >= max(grown["resident"]) * 0.99


def test_rules_are_timed_on_the_same_updates_everywhere():
    updates = served.drawn(7, our_rules.num_parameters(1), exact=True)
    assert updates.dtype == torch.float64
    assert torch.equal(updates, served.drawn(7, our_rules.num_parameters(1), exact=True))
    assert our_rules.num_parameters(128) == paper_parameters()
    found = our_rules.ready("median", updates)(updates)
    assert torch.equal(found, updates.median(dim=0).values)


def paper_parameters() -> int:
    return sum(parameter.numel() for parameter in PaperCNN().parameters())


@pytest.mark.slow  # a process
def test_rules_are_timed_without_the_peers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aggregators, "PEERS_PYTHON", Path("nowhere"))
    data = toy(aggregators, "--rules", "krum", "median", "--repeats", "2")
    assert set(data["cohorts"]["toy"]) == {"(read)", "krum", "median"}
    for by_side in data["cohorts"]["toy"].values():
        assert set(by_side) == {"ours"}
        assert len(by_side["ours"]["seconds"]) == 2
        assert min(by_side["ours"]["seconds"]) > 0
        assert len(by_side["ours"]["cpu_seconds"]) == 3


@pytest.mark.slow
def test_a_neighbor_is_busy_only_while_it_is_let():
    seconds = toy(neighbor)["seconds"]
    for states in seconds.values():
        assert len(states) == 3
        assert all(values[0] > 0 for values in states.values())


def test_the_gpu_script_runs_on_a_cpu():
    data = toy(gpu, "--device", "cpu")
    assert [(row["variant"], row["clients"]) for row in data["rows"]] == [
        (NAIVE, 2),
        ("cuda, float32", 2),
        ("reference", 2),
        ("cuda, float32", 4),
    ]
    assert all(min(row["seconds"]) > 0 for row in data["rows"])
    assert [run["checkpoints"] for run in data["runs"]] == [False, True]
    # Checkpoints change no number.
    assert len({run["main_accuracy"] for run in data["runs"]}) == 1


def test_results_are_read_back_drawn_and_quoted(tmp_path: Path):
    facts = {"command": "python -m bench.scaling", "date": "2026-01-02T03:04", "device": "a CPU"}
    facts |= {"versions": {"commit": "abc", "torch": "2"}, "load_before": [0.1], "load_after": [2]}
    table = Table("a title", ["what", "s"], [["naive loop", 1234.5], ["engine", None]])
    points = [{"variant": "engine cpu", "size": k, "seconds": [0.1 * k]} for k in (1, 10)]
    result = Result("scaling", facts, {"cohort": points}, [table], ["A note."])
    result.publish(tmp_path)
    again = read(tmp_path, "scaling")
    assert again is not None
    assert again.tables == [table]
    text = markdown(again)
    for part in ("`python -m bench.scaling`, 2026-01-02", "**a title**", "| what | s |", "A note."):
        assert part in text
    assert "| naive loop | 1,234 |\n| engine | - |" in text
    page = "before\n<!-- scaling -->\nold\n<!-- end -->\n<!-- gpu -->\nold\n<!-- end -->\nafter"
    filled = publish.filled(page, tmp_path)
    assert filled == page.replace("old", text, 1).replace("old", "Not measured yet.")
    assert publish.filled(filled, tmp_path) == filled
    assert figure.draw(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_the_readme_quotes_the_results_that_are_there():
    text = publish.README.read_text(encoding="utf-8")
    assert text == publish.filled(text, RESULTS), "python -m bench.publish brings it up to date"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.012345, "0.0123"),
        (1.0, "1.00"),
        (12.0, "12.0"),
        (123.0, "123"),
        (1999.9, "2,000"),
        (56970, "56,970"),
        (0.0, "0.00"),
        (1e-6, "1.0e-06"),
        (None, "-"),
        ("a", "a"),
    ],
)
def test_numbers_are_shown_to_three_digits(value: Any, text: str):
    assert shown(value) == text


def test_a_task_is_drawn_the_same_each_time():
    (path,) = pictures.main(["dba", "--out", "drawn"])
    (again,) = pictures.main(["dba", "--out", "again"])
    assert path.read_bytes() == again.read_bytes()
    assert matplotlib.image.imread(path).shape[0] > 7 * 28 * pictures.ZOOM  # clean, 4 parts, ...


@pytest.mark.slow  # two studies, each in a process of its own
def test_samplers_are_compared_on_what_their_studies_found(
    package: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", str(package))
    found = toy(samplers, "--results", "studies")["found"]
    assert [row["sampler"] for row in found] == ["tpe", "random"]
    for row in found:
        name = f"tuning-norm_clip-{row['sampler']}-0"
        study = json.loads(Path("studies", name, "tuning.json").read_text())
        assert study["description"]["sampler"] == row["sampler"]
        assert len(study["trials"]) == 3
        feasible = [t["outcome"]["values"][0] for t in study["trials"] if t["feasible"]]
        assert row["found"] == max(feasible, default=0)
        winner = study["winner"]
        assert row["backdoor"] == (statistics.fmean(winner["backdoor"].values()) if winner else 0)
