"""Cells on a Ray cluster of this machine: the same bits as without, whatever is lost."""

import glob
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.run import runner
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.run.executors import node
from benchmark.run.executors.ray import RayExecutor
from benchmark.run.record import Record
from benchmark.run.suite import Watch
from benchmark.utils.errors import UserError
from tests.run.test_kill_resume import Place
from tests.support.running import ROOT, TINY, call, environment, files, tiny
from tests.support.stopping import finish, wait_for

pytest.importorskip("ray", reason="needs the extra: make test-ray")

import optuna
import ray
from optuna.trial import TrialState

from bench.nodes import Nodes

LATE = ("participation.window=[2,4]", "federation.rounds=4")
LONG = "federation.rounds=60"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        nodes = Nodes(tmp_path_factory.mktemp("nodes"))
        yield nodes
        nodes.close()


@pytest.fixture(scope="class")
def executor(nodes: Nodes) -> Iterator[RayExecutor]:
    """One for all tests, whose workers stay."""
    with RayExecutor(address=nodes.address) as executor:
        yield executor


def ran(executor: RayExecutor, cells: list[Cell], meanwhile: Watch = print) -> list[Event]:
    events = []
    for event in executor.run(cells, Path("results/suite")):
        events.append(event)
        meanwhile(event)
    return events


def the_same_as_here(cells: list[Cell], folder: Path = Path("results/suite")) -> bool:
    """Records and final models, and nothing beside them."""
    for cell in cells:
        here = runner.run(cell, Path("results/here"))
        record = Record.read(cell.record_path(folder))
        assert record.result() == here.result()
        model = cell.weights_path(folder).read_bytes()
        assert model == cell.weights_path(Path("results/here")).read_bytes()
    return files(folder) - {"suite.json"} == files(Path("results/here"))


class TestWorkers:
    def test_the_same_results_from_nodes_that_share_no_folder(
        self, nodes: Nodes, executor: RayExecutor, workplace: Path
    ) -> None:
        attacks = ("none", "boosted", "norm_bounded")
        cells = [tiny(*LATE, f"attack={a}", f"seed={s}") for a in attacks for s in (0, 1)]
        used = set()

        def look(event: Event) -> None:
            used.update(f for f in nodes.folders if any(f.glob("fedbackdoor-*/worker-*")))

        events = ran(executor, cells, look)
        assert len(used) == 2
        assert sum(isinstance(event, Finished) for event in events) == len(cells)
        assert all(event.place for event in events if isinstance(event, Started))
        assert the_same_as_here(cells)
        # What is done is not run again.
        assert not any(isinstance(event, Round) for event in ran(executor, cells))

    def test_what_is_lost_goes_on_elsewhere(
        self, nodes: Nodes, executor: RayExecutor, workplace: Path
    ) -> None:
        cells = [tiny(LONG, f"seed={seed}") for seed in (0, 1)]
        lost = []

        def lose(event: Event) -> None:
            # A round after a checkpoint came back.
            if isinstance(event, Round) and event.round == 10 + 20 * len(lost) and len(lost) < 2:
                lost.append(event.cell)
                if len(lost) == 2:
                    nodes.lose()
                    return
                (actor,) = (a for a in executor._actors if a.task and a.task.cell == event.cell)
                ray.kill(actor.handle)

        events = ran(executor, cells, lose)
        assert len(lost) == 2
        assert [type(e) for e in events if not isinstance(e, Round | Started)] == [Finished] * 2
        assert any(event.again for event in events if isinstance(event, Started))
        for cell in cells:
            told = [e.round for e in events if isinstance(e, Round) and e.cell == cell]
            assert told == [*range(60)]
        assert the_same_as_here(cells)

    def test_a_cell_is_given_up(self, executor: RayExecutor, workplace: Path) -> None:
        def stop(event: Event) -> None:
            if isinstance(event, Round):
                executor.stop(event.cell, "pruned")

        events = ran(executor, [cell := tiny(LONG)], stop)
        assert events[-1] == Stopped(cell, "pruned")
        assert not files(Path("results/suite"))

    def test_a_cell_that_takes_its_workers_down_is_given_up(
        self, executor: RayExecutor, workplace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("benchmark.run.executors.ray.DEATHS", 2)

        def take_down(event: Event) -> None:
            if isinstance(event, Round):
                ray.kill(next(actor for actor in executor._actors if actor.task).handle)

        bad = tiny("federation.checkpoint_every=60", LONG)
        events = ran(executor, [bad], take_down)
        assert isinstance(events[-1], Failed)
        assert "2 workers died with it" in events[-1].reason

    def test_workers_that_died_with_nothing_to_do_count_against_no_cell(
        self, executor: RayExecutor, workplace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("benchmark.run.executors.ray.DEATHS", 2)
        ran(executor, [tiny(LONG, f"seed={seed}") for seed in (0, 1)])
        assert len(executor._actors) == 2
        for actor in executor._actors:
            ray.kill(actor.handle)
        *_, last = ran(executor, [tiny()])
        assert isinstance(last, Finished)

    def test_a_node_with_other_code_is_named(
        self, executor: RayExecutor, workplace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node, "__version__", "9.9")
        for actor in executor._actors:
            ray.kill(actor.handle)
        with pytest.raises(UserError, match="all need the same"):
            ran(executor, [tiny()])


FULL = """
import numpy, ray
from benchmark.run.executors.cluster import put
config = {"local_fs_capacity_threshold": 0.0, "automatic_object_spilling_enabled": False}
small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
ray.init("local", log_to_driver=False, _system_config=config, **small)
kept = [put(ray, numpy.ones(2**23, numpy.uint8)) for _ in range(20)]
"""
SUITE = ["suite", "smoke", *TINY, LONG]
STUDY = [
    *("tune", "attack", *TINY, "federation.rounds=20", "federation.client_lr=0.001"),
    *("defense=norm_clip", "defense.norm_bound=0.1"),
    *("--trials=5", "--best=1", "--name=smoke", "--storage=sqlite:///study.db"),
]


@pytest.mark.parametrize("words", [SUITE, STUDY], ids=["a suite", "a study"])
def test_what_is_killed_on_the_way_changes_nothing(
    nodes: Nodes, workplace: Path, package: Path, words: list[str]
) -> None:
    """A worker, then a node, then the command."""
    folder = workplace / "results" / ("smoke" if words is SUITE else "tuning-smoke")
    at = [*words, "executor=ray", f"executor.address={nodes.address}"]
    place = Place(workplace, package)

    def records() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}

    def at_work(more: int) -> None:
        """In the middle of a cell, with so many records."""
        # Unlike pathlib's, this glob takes a folder that goes meanwhile for none.
        wait_for(lambda: len(records()) >= more and glob.glob(f"{folder}/work/*/*.ckpt"), first)

    try:
        first = place.start(*at)
        at_work(0)
        nodes.kill_worker()
        at_work(1)
        nodes.lose()
        at_work(2)
        done = records()
        first.kill()
        first.communicate()
        finish(second := place.start(*at))
        assert second.returncode == 0
    finally:
        place.clear_up()
    assert done.items() <= records().items()
    # Nothing stays on the nodes either, not even of workers that were killed.
    wait_for(lambda: not any([*node.glob("fedbackdoor-*")] for node in nodes.folders[-2:]))
    listed = [Record.read(path) for path in sorted(folder.glob("records/*.json"))]
    some = listed if words is SUITE else listed[::6]
    for record in some:
        assert record.result() == runner.run(Cell.of(record.overrides), Path("here")).result()
    if words is STUDY:
        trials = optuna.load_study(study_name="smoke", storage="sqlite:///study.db").trials
        finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert len({tuple(t.user_attrs["overrides"]) for t in finished}) == len(finished) == 5
        assert not [t for t in trials if t.state == TrialState.RUNNING]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["executor.address=127.0.0.1:1"], "127.0.0.1:1: no Ray cluster: [Errno 111]"),
        (["executor.address=ray://127.0.0.1:1"], "HOST:PORT, auto or nothing"),
        (["executor.address=nonsense"], "no Ray cluster"),
        (["executor.num_cpus=0"], "must be positive"),
        (["executor.num_cpus=2"], "asks a node for 2 CPU; the cluster has 2 CPU"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(
    nodes: Nodes,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    answer = call(capsys, "suite", "smoke", *TINY, "executor=ray", *words)
    assert said in answer.fault
    assert not Path("results").exists()


def test_a_full_object_store_is_said_in_a_line() -> None:
    # Of a process of its own, as this one is part of a cluster.
    words = [sys.executable, "-c", FULL]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    *_, said = done.stderr.strip().splitlines()
    assert said.startswith(
        "benchmark.utils.errors.UserError: executor=ray: the object store takes no data: "
        "Local disk is full"
    )
