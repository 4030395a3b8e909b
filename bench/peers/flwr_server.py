"""flwr: its federated averaging in a simulation with Ray, an actor of one core for each core."""

import logging
import sys
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from bench.peers import flwr_client
from bench.peers.rounds import Rounds
from bench.peers.work import Work

OBJECT_STORE = 256 * 2**20


def main(folder: Path) -> None:
    work, rounds = Work.read(folder), Rounds(folder, ["flwr", "ray"])
    logging.getLogger("flwr").setLevel(logging.WARNING)
    app = ServerApp()

    @app.main()
    def serve(grid: Grid, context: Context) -> None:
        """One round at a time: flwr's own loop, asked for one round."""
        strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=work.clients)
        arrays, config = ArrayRecord(work.network().state_dict()), {"folder": str(folder)}
        rounds.ready()
        while rounds.begin():
            result = strategy.start(grid, arrays, num_rounds=1, train_config=ConfigRecord(config))
            arrays = result.arrays
            rounds.end(arrays.to_torch_state_dict().values())

    run_simulation(
        server_app=app,
        client_app=flwr_client.app,
        num_supernodes=work.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0},
            "init_args": {"object_store_memory": OBJECT_STORE, "_temp_dir": str(folder / "ray")},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
