"""pfl: its federated averaging on its simulated backend, in one process or under ``torchrun``.

No evaluation, no deep copies (pfl resets one model), batches cached by its in-memory data set.
"""

import sys
from pathlib import Path

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import MinimizeReuseUserSampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.internal.ops.selector import get_framework_module
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.peers.rounds import Rounds
from bench.peers.work import BATCH, EPOCHS, LR, Work

FOREVER = 10**9


class Network(nn.Module):
    """A model as pfl wants it: with its loss and metrics."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.network(images), labels)

    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """Asked for in pfl's first round only, which is not timed."""
        with torch.no_grad():
            return {"loss": Weighted.from_unweighted(self.loss(images, labels).item())}


class OnCommand(TrainingProcessCallback[PyTorchModel]):
    """One round at a time, in all processes at once."""

    def __init__(self, rounds: Rounds | None):
        self.rounds = rounds

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        if self.rounds:
            self.rounds.ready()
        self._begin()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        if self.rounds:
            self.rounds.end(model.pytorch_model.parameters())
        return not self._begin(), Metrics()

    def _begin(self) -> bool:
        asked = torch.tensor(self.rounds.begin() if self.rounds else False)
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(asked, src=0)
        return bool(asked)


def main(folder: Path) -> None:
    work = Work.read(folder)
    network = Network(work.network()).train()
    model = PyTorchModel(
        network,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
    )
    data = {
        user: PyTorchTensorDataset(work.client(user), user_id=str(user))
        for user in range(work.clients)
    }
    users = FederatedDataset(data.__getitem__, MinimizeReuseUserSampler(list(data)))
    first = get_framework_module().distributed.global_rank == 0
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=FOREVER,
            evaluation_frequency=FOREVER,
            train_cohort_size=work.clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=users, val_data=users),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_learning_rate=LR, local_num_epochs=EPOCHS, local_batch_size=BATCH
        ),
        callbacks=[OnCommand(Rounds(folder, ["pfl"]) if first else None)],
        send_metrics_to_platform=False,
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
