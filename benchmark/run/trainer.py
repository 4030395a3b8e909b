"""Lightning's Trainer for a federation."""

import logging
import warnings
from functools import cache

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import registry

from benchmark.data.dataset import FederatedDataset
from benchmark.data.module import FederatedDataModule
from benchmark.federation.rounds import Federation
from benchmark.utils.machine import one_thread

# Lightning asks all that is installed for callbacks with each Trainer: a fifth of an empty cell.
registry.entry_points = cache(registry.entry_points)  # type: ignore[assignment]


def fit(
    federation: Federation,
    dataset: FederatedDataset,
    device: str,
    callbacks: list[pl.Callback],
    resume: str | None = None,
    rounds: int | None = None,
) -> None:
    """Run a federation's rounds, or the first of them, from a checkpoint on if there is one."""
    trainer = trainer_of(rounds or federation.protocol.rounds, device, callbacks)
    try:
        # Sums split over threads round differently; the engine brings its own threads.
        with one_thread():
            data = FederatedDataModule(dataset)
            trainer.fit(federation, data, ckpt_path=resume, weights_only=True)
    except SystemExit:
        # What Lightning makes of Ctrl-C.
        raise KeyboardInterrupt from None
    finally:
        federation.engine.release()


def trainer_of(rounds: int, device: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer for a federation, which is an epoch of one batch for each round."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # float32 means float32, and the same bits each time, on a GPU too.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    # pytorch-lightning 2.6 uses what torch deprecates; nothing a user could change.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # The cpu engine is chosen on purpose where a GPU is there too.
    warnings.filterwarnings("ignore", message="GPU available but not used")
    return pl.Trainer(
        max_epochs=rounds,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
