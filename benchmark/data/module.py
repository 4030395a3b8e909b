"""Lightning's view of the data: rounds for the server."""

import pytorch_lightning as pl

from benchmark.data.dataset import FederatedDataset


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
