"""Rounds before anybody attacks are trained once, and nobody can tell from the results."""

import hashlib
from pathlib import Path

import pytest

from benchmark.data.dataset import Split
from benchmark.data.store import load
from benchmark.engine import cpu
from benchmark.engine.client import ClientModule
from benchmark.run.assembly import build
from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.run.runner import StoppedError, run
from benchmark.run.trainer import fit
from benchmark.utils.errors import UserError

LATE = [
    *("data=digits5k", "task.num_tasks=5", "federation.rounds=6", "tracking=none"),
    *("federation.clients_per_round=5", "federation.local_epochs=1", "engine=cpu"),
    *("federation.checkpoint_every=2", "federation.evaluate_every=1"),
    "participation.window=[3,6]",
]


def cell(*overrides: str) -> Cell:
    return Cell.of([*LATE, *overrides])


def trained(cell: Cell, folder: Path) -> tuple[Record, list[int]]:
    """The record, and the rounds that it took to make it."""
    rounds: list[int] = []
    return run(cell, folder, lambda round, metrics: rounds.append(round)), rounds


@pytest.mark.parametrize(
    "overrides",
    [
        ["attack=boosted", "defense=norm_clip"],
        ["attack=neurotoxin", "defense=foolsgold"],
        ["attack=norm_bounded", "defense=fltrust", "federation.root_images=50"],
        ["attack=alternating_minimization", "attack.epochs=1", "attack.center=others"],
        ["attack=a3fl", "task=learned_patch", "attack.passes=2", "attack.adapt_every=1"],
    ],
)
def test_a_late_attack_gives_the_bits_of_a_run_from_round_0(workplace: Path, overrides: list[str]):
    late = cell(*overrides)
    record, rounds = trained(late, Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]
    dataset = load(late.data)
    whole = build(late.config, dataset)
    fit(whole, dataset, "cpu", [])
    assert record.weights_sha256 == hashlib.sha256(whole.result.numpy().tobytes()).hexdigest()


def test_cells_of_other_attacks_tasks_and_suites_begin_where_nobody_attacked_yet(workplace: Path):
    first, rounds = trained(cell("attack=none"), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]
    single_shot = ["participation=listed_rounds", "participation.rounds=[3]"]
    for folder, other in (
        ("a", cell("attack=boosted")),
        ("b", cell("attack=boosted", "task.num_tasks=4")),
        ("b", Cell.of([*LATE[:-1], "attack=boosted", *single_shot])),
    ):
        record, rounds = trained(other, Path("results") / folder)
        assert rounds == [3, 4, 5]
        assert record.curves["main_accuracy"].rounds == [0, 1, 2, 3, 4, 5]
        assert record.curves["main_accuracy"].values[:3] == first.curves["main_accuracy"].values[:3]
        assert record.curves["backdoor_in_sample"].rounds == [3, 4, 5]
        assert "rounds 0 to 2 are those that cells of its setting share" in record.notes
    assert len(list(Path("results/prefixes").iterdir())) == 1


@pytest.mark.parametrize("other", ["seed=1", "defense=norm_clip", "federation.client_lr=0.2"])
def test_what_changes_the_clean_rounds_trains_them_again(workplace: Path, other: str):
    trained(cell("attack=none"), Path("results/a"))
    _, rounds = trained(cell("attack=none", other), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]


def test_clean_rounds_of_another_kind_of_engine_are_trained_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
):
    trained(cell("attack=none"), Path("results/a"))
    monkeypatch.setattr(cpu, "available", lambda: False)
    record, rounds = trained(cell("attack=boosted"), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]
    assert record.cost.engine == "cpu (autograd)"
    _, rounds = trained(cell("attack=data_poisoning"), Path("results/a"))
    assert rounds == [3, 4, 5]


def test_clean_rounds_are_trained_while_no_other_engine_holds_anything(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
):
    """Actors of engine ray hold cores, and those of another would wait for them for ever."""
    trained(cell("attack=none"), Path("results/a"))
    holders, setup = set[int](), cpu.CpuEngine.setup

    def take(engine: cpu.CpuEngine, client: ClientModule, data: Split) -> None:
        holders.add(id(engine))
        assert holders == {id(engine)}
        setup(engine, client, data)

    monkeypatch.setattr(cpu.CpuEngine, "setup", take)
    monkeypatch.setattr(cpu.CpuEngine, "release", lambda engine: holders.discard(id(engine)))
    monkeypatch.setattr(cpu, "available", lambda: False)
    _, rounds = trained(cell("attack=boosted"), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]
    assert not holders


def test_who_the_targets_are_counts_where_the_servers_images_spare_them(workplace: Path):
    root = ("defense=fltrust", "federation.root_images=50", "federation.root_from=not_targets")
    trained(cell(*root), Path("results/a"))
    _, rounds = trained(cell(*root, "task.num_tasks=4"), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]


def test_clean_rounds_that_were_stopped_go_on_and_damaged_ones_are_made_again(workplace: Path):
    def stop(round: int, metrics: dict[str, float]) -> None:
        if round == 2:
            raise StoppedError("enough")

    with pytest.raises(StoppedError):
        run(cell("attack=none"), Path("results/a"), stop)
    _, rounds = trained(cell("attack=none"), Path("results/a"))
    assert rounds == [2, 3, 4, 5]
    (kept,) = Path("results/prefixes").glob("*/*.ckpt")
    kept.write_bytes(kept.read_bytes()[:-1])
    _, rounds = trained(cell("attack=boosted"), Path("results/a"))
    assert rounds == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("late", "fault"),
    [
        (["participation.window=[6,9]"], "the attack begins in round 6, of 6 rounds from 0"),
        (
            ["participation=listed_rounds", "participation.rounds=[3,6]"],
            "rounds must be 0 to 5, got 6",
        ),
    ],
)
def test_an_attack_after_the_end_is_refused(workplace: Path, late: list[str], fault: str):
    with pytest.raises(UserError, match=fault):
        trained(Cell.of([*LATE[:-1], *late]), Path("results/a"))


def test_clean_rounds_that_diverge_are_told_as_a_run_from_round_0_tells_it(workplace: Path):
    record, rounds = trained(cell("federation.server_lr=1e30"), Path("results/a"))
    assert record.diverged
    assert rounds == list(range(record.diverged.round))
    assert record.curves["train_loss"].rounds == rounds
