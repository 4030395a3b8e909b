"""Cells on a Ray cluster of this machine: the same bits as without, whatever is lost."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.run import runner
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Started, Stopped
from benchmark.run.executors import node
from benchmark.run.executors.ray import RayExecutor
from benchmark.run.record import Record
from benchmark.run.suite import Watch
from benchmark.utils.errors import UserError
from tests.support.running import ROOT, TINY, call, environment, files, tiny

pytest.importorskip("ray", reason="needs the extra: make test-ray")

import ray
from ray.cluster_utils import Cluster

LATE = ("participation.window=[2,4]", "federation.rounds=4")
LONG = "federation.rounds=60"


class Nodes:
    """A head that runs nothing, and nodes with a core and a temporary folder each."""

    def __init__(self, folder: Path):
        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.folder, self.there = folder, list[Any]()
        self.add()
        self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    @property
    def folders(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def add(self) -> None:
        own = self.folder / f"node-{len(list(self.folder.iterdir()))}"
        own.mkdir()
        self.there.append(self.cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(own)}))

    def lose(self) -> None:
        """The oldest, and have another one."""
        self.cluster.remove_node(self.there.pop(0), allow_graceful=False)
        self.add()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        nodes = Nodes(tmp_path_factory.mktemp("nodes"))
        yield nodes
        nodes.cluster.shutdown()


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

    @pytest.mark.parametrize("what", ["actor", "node"])
    def test_what_is_lost_goes_on_elsewhere(
        self, nodes: Nodes, executor: RayExecutor, workplace: Path, what: str
    ) -> None:
        cells = [tiny(LONG, f"seed={seed}") for seed in (0, 1)]
        lost = []

        def lose(event: Event) -> None:
            # A round after a checkpoint came back.
            if isinstance(event, Round) and event.round == 20 + len(lost) and len(lost) < 2:
                lost.append(event.cell)
                if what == "node":
                    nodes.lose()
                else:
                    busy = [a for a in executor._actors if a.task and a.task.cell == event.cell]
                    ray.kill(busy[0].handle)

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
        self, executor: RayExecutor, workplace: Path
    ) -> None:
        def take_down(event: Event) -> None:
            if isinstance(event, Round):
                ray.kill(next(actor for actor in executor._actors if actor.task).handle)

        bad = tiny("federation.checkpoint_every=60", LONG)
        events = ran(executor, [bad], take_down)
        assert isinstance(events[-1], Failed)
        assert "3 workers died with it" in events[-1].reason


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_command_that_is_killed_goes_on(nodes: Nodes, workplace: Path) -> None:
    words = ["suite", "smoke", *TINY, LONG, "executor=ray", f"executor.address={nodes.address}"]
    command, folder = start(workplace, *words), workplace / "results" / "smoke"
    while not (list(folder.glob("records/*.json")) and list(folder.glob("work/*/*.ckpt"))):
        assert command.poll() is None, command.communicate()
        time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    command.kill()
    command.communicate()
    _, said = (again := start(workplace, *words)).communicate(timeout=300)
    assert again.returncode == 0, said
    assert "Traceback" not in said
    assert done.items() <= {p: p.stat().st_mtime_ns for p in folder.glob("records/*.json")}.items()
    assert "goes on at round" in said
    # Nothing is left on the nodes either, not even of workers that were killed.
    assert [path for folder in nodes.folders[-2:] for path in folder.glob("fedbackdoor-*")] == []
    listed = [Record.read(path) for path in folder.glob("records/*.json")]
    assert the_same_as_here([Cell.of([*r.overrides]) for r in listed], folder)


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


def test_a_node_with_other_code_is_named(
    nodes: Nodes, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "__version__", "9.9")
    with (
        pytest.raises(UserError, match="all need the same"),
        RayExecutor(address=nodes.address) as executor,
    ):
        ran(executor, [tiny()])
