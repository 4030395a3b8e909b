"""A defense as a strategy in a real Flower simulation, and a strategy as a defense here."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("flwr", reason="needs the extra: make test-flower")

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam
from flwr.simulation import run_simulation

from benchmark.config.compose import compose, named
from benchmark.config.plugins import FLOWER
from benchmark.defenses.base import Defense, DefenseSetting
from benchmark.flower import strategy
from benchmark.flower.arrays import arrays_of, flat
from benchmark.flower.defense import FlowerStrategy
from benchmark.run.cell import Cell
from benchmark.testing import DefenseContract, aggregate
from benchmark.testing.toys import defense_context, seeded
from benchmark.utils.fingerprint import forget

SHAPES = {"conv.weight": (2, 1, 2, 2), "fc.weight": (3, 2), "fc.bias": (3,)}
P, NODES, ROUNDS = 17, 7, 3
START = torch.linspace(-1, 1, P)


def update_of(theta: Tensor, node: int) -> Tensor:
    """What a node adds to a model; two of them always send the same."""
    same = min(node, NODES - 2)
    drawn = torch.randn(P, generator=seeded(same)) * (5 if node >= NODES - 2 else 1)
    return 0.1 * drawn - 0.05 * theta


def record(vector: Tensor) -> ArrayRecord:
    parts = vector.split([math.prod(shape) for shape in SHAPES.values()])
    arrays = [part.reshape(s).numpy() for part, s in zip(parts, SHAPES.values(), strict=True)]
    return ArrayRecord({name: Array(array) for name, array in zip(SHAPES, arrays, strict=True)})


client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    theta, node = flat(arrays_of(message.content["arrays"])), context.node_config["partition-id"]
    content = {
        "arrays": record(theta + update_of(theta, int(node))),
        "metrics": MetricRecord({"num-examples": int(node) + 1}),
    }
    return Message(RecordDict(content), reply_to=message)


def simulated(defenses: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The results of each defense's strategy, all in one simulation."""
    results: dict[str, Any] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        for name, options in defenses.items():
            defended = strategy(
                name, fraction_evaluate=0.0, min_available_nodes=NODES, server_lr=0.5, **options
            )
            results[name] = defended.start(grid, record(START), num_rounds=ROUNDS)

    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0},
            "init_args": {"object_store_memory": 128 * 2**20, "_temp_dir": str(folder)},
        },
    )
    return results


@pytest.mark.filterwarnings("ignore")  # Ray's and Flower's own
def test_a_simulation_ends_with_the_model_that_the_defense_makes_of_the_same_updates() -> None:
    """Nodes are numbered anew in each simulation: rules that know no order, and state by client."""
    defenses: dict[str, Any] = {
        "median": {},
        "multi_krum": {"parameters": {"assumed_compromised": 2}},
        "foolsgold": {},
        "centered_clipping": {"parameters": {"radius": 0.2}},
        "lasa": {"weighting": "examples"},
        "fltrust": {"root": lambda arrays: record(flat(arrays_of(arrays)) - 0.1)},
    }
    # Ray's sockets want a short path.
    with TemporaryDirectory(prefix="fbd") as folder:
        results = simulated(defenses, Path(folder))
    for name, options in defenses.items():
        defense = named("defense", name, **options.get("parameters", {}))
        theta = START.clone()
        for round in range(ROUNDS):
            shares = None
            if options.get("weighting"):
                shares = torch.arange(1.0, NODES + 1)
            found = aggregate(
                defense,
                torch.stack([update_of(theta, node) for node in range(NODES)]),
                theta=theta,
                weights=shares,
                layers=SHAPES,
                root=torch.full((P,), -0.1) if name == "fltrust" else None,
                round=round,
            )
            theta = theta + 0.5 * found.update
        end = flat(arrays_of(results[name].arrays))
        assert (end - theta).norm() <= 1e-5 * theta.norm(), name
        assert (theta - START).norm() > 1e-2
        told = results[name].train_metrics_clientapp[ROUNDS]
        assert ("rejected" in told) == (found.trust is not None)
    assert results["multi_krum"].train_metrics_clientapp[1]["rejected"] == 2


def test_a_strategy_is_refused_for_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="FlTrust needs root data: give root="):
        strategy("fltrust")
    with pytest.raises(ValueError, match="server_lr must be positive"):
        strategy("mean", server_lr=0.0)
    with pytest.raises(ValueError, match="assumed_compromised must be 0 or more"):
        strategy("krum", parameters={"assumed_compromised": -1})


def setting(defense: Defense, K: int) -> Defense:
    defense.setup(DefenseSetting(K, K, 12, 3, defense_context(12, K).layers))
    return defense


@pytest.mark.parametrize(
    ("named", "arguments", "ours", "parameters"),
    [
        ("FedAvg", [], "mean", {}),
        ("FedMedian", [], "median", {}),
        ("FedTrimmedAvg", ["beta=0.2"], "trimmed_mean", {"assumed_compromised": 2}),
    ],
)
def test_flowers_own_strategies_agree_with_ours_where_they_are_the_same(
    named: str, arguments: list[str], ours: str, parameters: dict[str, Any]
) -> None:
    rows = torch.randn(10, 12, generator=seeded(), dtype=torch.float64)
    theirs = setting(FlowerStrategy(f"flwr.serverapp.strategy:{named}", arguments), 10)
    equal = torch.full((10,), 0.1, dtype=torch.float64)
    found = theirs.aggregate(rows, equal, defense_context(12, 10)).update
    assert found.dtype == torch.float64
    assert (found - aggregate(ours, rows, **parameters).update).abs().max() <= 1e-6


def test_a_strategy_that_waits_for_more_clients_is_refused() -> None:
    greedy = FlowerStrategy("flwr.serverapp.strategy:FedAvg", ["min_train_nodes=9"])
    equal = torch.full((4,), 0.25, dtype=torch.float64)
    with pytest.raises(ValueError, match="waits for more clients than the 4"):
        setting(greedy, 4).aggregate(torch.ones(4, 12), equal, defense_context(12, 4))


def test_weights_reach_a_strategy_as_examples() -> None:
    rows = torch.randn(4, 12, generator=seeded())
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = setting(FlowerStrategy(), 4).aggregate(rows, weights, defense_context(12, 4)).update
    assert (found - (weights.float() @ rows)).abs().max() <= 1e-6


def test_what_a_strategy_remembers_is_saved_and_resumed(tmp_path: Path) -> None:
    def made() -> Defense:
        return setting(FlowerStrategy("flwr.serverapp.strategy:FedAdam", ["eta=0.1"]), 4)

    def step(defense: Defense, round: int) -> Tensor:
        rows = torch.randn(4, 12, generator=seeded(round))
        equal = torch.full((4,), 0.25, dtype=torch.float64)
        return defense.aggregate(rows, equal, defense_context(12, 4, round)).update

    one, other, fresh = made(), made(), made()
    step(one, 0)
    state = one.state_dict()
    torch.save(state, path := tmp_path / "state.pt")
    other.load_state_dict(torch.load(path, weights_only=True))
    expected = step(one, 1)
    assert torch.equal(step(other, 1), expected)
    assert not torch.equal(step(fresh, 1), expected)
    assert isinstance(one.strategy, FedAdam)
    assert isinstance(one.strategy.m_t["first"], np.ndarray)


@pytest.mark.parametrize(
    ("strategy", "arguments", "fault"),
    [
        ("FedAvg", [], "strategy must be module:Class, got 'FedAvg'"),
        ("flwr.nowhere:FedAvg", [], "strategy must be module:Class"),
        ("os:system", [], "is no flwr.serverapp.strategy.Strategy"),
        ("flwr.serverapp.strategy:FedAvg", ["x"], "arguments are name=value, got 'x'"),
        ("flwr.serverapp.strategy:FedAvg", ["x=1"], "unexpected keyword argument 'x'"),
    ],
)
def test_what_is_no_strategy_is_refused(strategy: str, arguments: list[str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        FlowerStrategy(strategy, arguments)


def test_a_strategys_code_is_in_the_identity_of_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "ours_for_a_test.py"
    monkeypatch.syspath_prepend(tmp_path)

    def identity(factor: int) -> str:
        module.write_text(
            "from flwr.serverapp.strategy import FedAvg\n\n"
            f"class Ours(FedAvg):\n    factor = {factor}\n"
        )
        forget()
        named = "defense.strategy='ours_for_a_test:Ours'"
        config = compose(["defense=flower", named])
        return Cell((), config, tmp_path, "data").fingerprint

    assert identity(1) == identity(1) != identity(2)


class TestFlower(DefenseContract):
    conf = FLOWER
