"""One round of federated averaging in other simulators and in ours, in turn, on the same data.

    make bench-peers

Clients have 100 images each and train 5 epochs in batches of 20. Before anything is timed, every
simulator must arrive at the same global model as ours, without dropout and in float64: in float32
a max-pooling or ReLU that rounds the other way can change a client's whole update by a tenth.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import vector_to_parameters

from bench.measure import Spread, facts, say
from bench.peers.simulator import Simulator
from bench.peers.work import MODELS, Work, flat, untrained
from bench.report import Result, Table, arguments
from bench.workload import SEED, colored, paper_shaped

ENVIRONMENT = Path(__file__).parent / ".venv" / "bin" / "python"
OURS, THEIRS = (sys.executable, "-m"), (str(ENVIRONMENT), "-m")
CORES = len(os.sched_getaffinity(0))
ENGINE, LOOP = "FedBackdoor, engine cpu", "naive loop"
COMMANDS: dict[str, Sequence[str]] = {
    ENGINE: (*OURS, "bench.peers.ours", "engine"),
    LOOP: (*OURS, "bench.peers.ours", "loop"),
    "pfl, one process": (*THEIRS, "bench.peers.pfl_peer"),
    f"pfl, {CORES} processes": (
        *THEIRS,
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={CORES}",
        "-m",
        "bench.peers.pfl_peer",
    ),
    f"flwr, {CORES} Ray actors": (*THEIRS, "bench.peers.flwr_server"),
}
SAME = 1e-3
COMPARED_CLIENTS = 4
NOTES = (
    "Seconds of whole rounds: local training, aggregation, server step; where others use the "
    "machine too, CPU seconds compare those that have as many threads as cores. Difference: "
    f"distance from our global model after one round of {COMPARED_CLIENTS} clients, without "
    "dropout and in float64, over the length of our update; the naive loop shuffles and is left "
    "out. Length: of the first update in the timed run over ours. Loss: of the global model on all "
    "training images after the last round. In these two, dropout masks and rounding differ.",
)


@dataclass(frozen=True)
class Row:
    """A simulator on one workload.

    Attributes:
        model, clients, simulator: what was timed.
        seconds: of every round but the first.
        cpu_seconds: the same in CPU time of all its processes; at rest they need some too.
        warm_up: seconds of the first round.
        ratio: median over the median of our engine.
        difference: from our global model after one round that can be compared, see ``NOTES``.
        length: of the first update over that of ours.
        loss: of the global model on the training images, before and after every round.
        torch_threads: in the simulator's main process.
        versions: of what it is made of.
    """

    model: str
    clients: int
    simulator: str
    seconds: list[float]
    cpu_seconds: list[float]
    warm_up: float
    ratio: float
    difference: float | None
    length: float
    loss: list[float]
    torch_threads: int
    versions: dict[str, str]


@dataclass
class Outcome:
    """What a simulator did: seconds and global model of every round."""

    about: dict
    seconds: list[float]
    cpu: list[float]
    thetas: list[np.ndarray]


def make(model: str, clients: int, dropout: bool, dtype: torch.dtype) -> Work:
    """The paper's cohort on digits5k, as color images of 32 x 32 for a residual network."""
    data = paper_shaped(clients, test_images=1).train
    data = colored(data) if model.startswith("resnet") else data
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        theta = flat(untrained(model, dropout).to(dtype).parameters())
    images, labels = data.images.unflatten(0, (clients, -1)), data.labels.view(clients, -1)
    return Work(model, dropout, images.numpy(), labels.numpy(), theta)


@contextmanager
def running(work: Work, commands: dict[str, Sequence[str]]) -> Iterator[list[Simulator]]:
    """Simulators at rest."""
    with tempfile.TemporaryDirectory(prefix="peers") as folder, ExitStack() as stack:
        yield [
            stack.enter_context(Simulator(name, command, work, Path(folder) / str(i)))
            for i, (name, command) in enumerate(commands.items())
        ]


def interleave(work: Work, rounds: int, commands: dict[str, Sequence[str]]) -> dict[str, Outcome]:
    """A round of each simulator, then the next of each."""
    with running(work, commands) as simulators:
        outcomes = {s.name: Outcome(s.ready(), [], [], []) for s in simulators}
        for _ in range(rounds):
            for simulator in simulators:
                outcome = outcomes[simulator.name]
                took, cpu = simulator.round()
                outcome.seconds.append(took)
                outcome.cpu.append(cpu)
                outcome.thetas.append(simulator.theta)
                say(f"  {simulator.name}: {took:.3g} s, {cpu:.3g} s of CPU time")
    return outcomes


def first_updates(work: Work, outcomes: dict[str, Outcome]) -> dict[str, np.ndarray]:
    """Of every simulator, over the length of ours."""
    updates = {name: o.thetas[0].astype(float) - work.theta for name, o in outcomes.items()}
    return {name: u / np.linalg.norm(updates[ENGINE]) for name, u in updates.items()}


@cache
def differences(model: str, names: tuple[str, ...]) -> dict[str, float]:
    """How far from ours every simulator's first update is that takes the same batches.

    Raises:
        RuntimeError: a simulator does other work than ours.
    """
    say(f"{model}: one round each of {COMPARED_CLIENTS} clients in float64, to see that they agree")
    work = make(model, COMPARED_CLIENTS, dropout=False, dtype=torch.float64)
    comparable = {name: COMMANDS[name] for name in names if name != LOOP}
    updates = first_updates(work, interleave(work, 1, comparable))
    found = {name: float(np.linalg.norm(u - updates[ENGINE])) for name, u in updates.items()}
    for name, difference in found.items():
        if difference > SAME:
            raise RuntimeError(f"{name} does other work than ours: it differs by {difference:.2g}")
    return found


def loss(work: Work, theta: np.ndarray) -> float:
    """Mean cross-entropy of a global model on the whole cohort's images."""
    network = untrained(work.model, dropout=False).eval()
    vector_to_parameters(torch.from_numpy(theta), network.parameters())
    with torch.no_grad():
        losses = [cross_entropy(network(x), y) for x, y in map(work.client, range(work.clients))]
    return float(torch.stack(losses).mean())


def measure(model: str, clients: int, repeats: int, names: tuple[str, ...]) -> list[Row]:
    """Simulators on one workload: first that they agree, then how long they take."""
    different = differences(model, names)
    say(f"{model}, {clients} clients: one round to warm up, then the timed ones")
    work = make(model, clients, dropout=True, dtype=torch.float32)
    outcomes = interleave(work, 1 + repeats, {name: COMMANDS[name] for name in names})
    updates = first_updates(work, outcomes)
    ours = Spread.of(outcomes[ENGINE].seconds[1:]).median
    return [
        Row(
            model=model,
            clients=clients,
            simulator=name,
            seconds=outcome.seconds[1:],
            cpu_seconds=outcome.cpu[1:],
            warm_up=outcome.seconds[0],
            ratio=Spread.of(outcome.seconds[1:]).median / ours,
            difference=different.get(name),
            length=float(np.linalg.norm(updates[name])),
            loss=[loss(work, theta) for theta in (work.theta, *outcome.thetas)],
            **outcome.about,
        )
        for name, outcome in outcomes.items()
    ]


def table(model: str, clients: int, rows: Sequence[Row]) -> Table:
    """What people read."""
    columns = ["simulator", "median s", "quartiles", "times ours", "CPU s"]
    columns += ["difference", "length", "loss"]
    cells = []
    for row in rows:
        s = Spread.of(row.seconds)
        between = f"{s.low:.3g} to {s.high:.3g}"
        cpu = Spread.of(row.cpu_seconds).median
        shown = [row.simulator, s.median, between, row.ratio, cpu]
        cells.append([*shown, row.difference, row.length, row.loss[-1]])
    return Table(f"{model}, {clients} clients", columns, cells)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds of each simulator")
    parser.add_argument(
        "--beside", nargs="+", default=list(COMMANDS), choices=COMMANDS, help="whom; all there are"
    )
    asked = parser.parse_args()
    if asked.toy:
        asked.model, asked.clients, asked.repeats = ["small"], [2], 1
    if asked.repeats < 1 or min(asked.clients) < 2:
        parser.error("at least one timed round, and at least two clients (flwr's minimum)")
    if not ENVIRONMENT.exists():
        parser.error("the peers are not installed; run make bench-peers")
    known = facts("bench.peers.compare", sys.argv[1:])
    workloads = [(model, clients) for model in asked.model for clients in asked.clients]
    names = tuple(dict.fromkeys([ENGINE, *asked.beside]))
    measured = {w: measure(*w, asked.repeats, names) for w in workloads}
    Result(
        name="peers",
        facts=known,
        data={"rows": [asdict(row) for rows in measured.values() for row in rows]},
        tables=[table(*w, rows) for w, rows in measured.items()],
        notes=NOTES,
    ).publish(asked.out)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; all simulators are ended")
    except RuntimeError as error:
        sys.exit(str(error))
