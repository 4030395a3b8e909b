"""Lightning callbacks of a run: one keeps the curves, one the checkpoint."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmark.run.curve import Curve, Summary
from benchmark.utils.files import sync
from benchmark.utils.machine import peak_memory_mb, reset_peak_memory

log = logging.getLogger("benchmark")

CHECKPOINT = "last.ckpt"
"""Its name in a cell's work folder."""

OnRound = Callable[[int, dict[str, float]], None]
"""Told of every finished round: its number from 0, and its metrics."""


class Recorder(pl.Callback):
    """Keeps every metric's curve, and what every round cost; saved with checkpoints."""

    def __init__(self, on_round: OnRound | None = None):
        self.on_round = on_round
        self.curves: dict[str, Curve] = {}
        self.round_seconds: list[float] = []
        self.round_peak_memory_mb: list[float] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        """Start the clock of a round, and forget what was resident before it."""
        reset_peak_memory(module.device.type)
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Append the round's metrics."""
        self.round_seconds.append(time.perf_counter() - self._started)
        self.round_peak_memory_mb.append(peak_memory_mb(module.device.type))
        for name, value in outputs.items():
            self.curves.setdefault(name, Curve()).add(trainer.current_epoch, value)
        if self.on_round:
            self.on_round(trainer.current_epoch, outputs)

    def state_dict(self) -> dict[str, Any]:
        """Plain lists, so that checkpoints load with ``weights_only=True``."""
        curves = {name: [curve.rounds, curve.values] for name, curve in self.curves.items()}
        return {
            "curves": curves,
            "round_seconds": self.round_seconds,
            "round_peak_memory_mb": self.round_peak_memory_mb,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.curves = {name: Curve(*curve) for name, curve in state["curves"].items()}
        self.round_seconds = state["round_seconds"]
        self.round_peak_memory_mb = state["round_peak_memory_mb"]


class Checkpoint(pl.Callback):
    """Saves the run every few rounds: written beside ``path``, then renamed.

    Lightning's ModelCheckpoint deletes the old file and writes the new one; a kill between the
    two would lose both.
    """

    def __init__(self, path: Path, every: int):
        self.path, self.every = path, every

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save after the Recorder has seen the round."""
        if (trainer.current_epoch + 1) % self.every == 0:
            beside = self.path.with_suffix(".new")
            trainer.save_checkpoint(beside)
            sync(beside)
            beside.replace(self.path)

    def usable(self) -> str | None:
        """The checkpoint to go on from; a damaged one is put aside and the run starts anew."""
        if not self.path.exists():
            return None
        try:
            torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the damage makes of the pickle
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            reason = str(error).partition("\n")[0]
            log.warning("%s: damaged (%s); starting at round 0", aside, reason)
            return None
        return str(self.path)


def recorded(work: Path) -> dict[str, Curve]:
    """The curves of an unfinished run as its checkpoint has them; none without a usable one.

    Args:
        work: folder of the checkpoint.
    """
    try:
        saved = torch.load(work / CHECKPOINT, map_location="cpu", weights_only=True)
        curves = saved["callbacks"][Recorder.__qualname__]["curves"]
    except Exception:  # torch.load raises whatever a damage makes of the pickle
        return {}
    return {name: Curve(*curve) for name, curve in curves.items()}


def summarize(curve: Curve, attacked: Curve, rounds: int) -> Summary:
    """One metric in a few numbers.

    Args:
        curve: the metric, over some or all rounds, the last included.
        attacked: ``num_compromised`` over all rounds.
        rounds: T; the last fifth are the last ⌈T/5⌉.
    """
    values = curve.points()
    under_attack = {r for r, n in attacked.points().items() if n > 0}
    before = {r - 1 for r in under_attack} - under_attack
    return Summary(
        final=values.get(rounds - 1),
        last_fifth=_mean([v for r, v in values.items() if r >= rounds - -(-rounds // 5)]),
        cumulative_mean=_mean(list(values.values())),
        before_attack=_mean([v for r, v in values.items() if r in before]),
        after_attack=_mean([v for r, v in values.items() if r in under_attack]),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
