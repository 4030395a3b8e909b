"""Lightning's view of the data: rounds for the server, a loader for one client."""

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmark.data.dataset import FederatedDataset, Split


class FederatedDataModule(pl.LightningDataModule):
    """Feeds a ``Trainer``: an epoch of the federation is a round, and its data are resident.

    Args:
        dataset: the partitioned data.
    """

    def __init__(self, dataset: FederatedDataset):
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self) -> list[int]:
        """One empty batch an epoch: the federation itself chooses clients and examples."""
        return [0]

    def client_dataloader(
        self, user: int, batch_size: int, split: Split | None = None
    ) -> DataLoader[tuple[Tensor, ...]]:
        """One user's images and labels, in order, for ``Trainer.fit(ClientModule, ...)``."""
        split = split or self.dataset.train
        indices = split.user(user)
        tensors = TensorDataset(split.pixels(indices), split.labels[indices])
        return DataLoader(tensors, batch_size=batch_size, generator=torch.Generator())
