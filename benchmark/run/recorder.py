"""Lightning callbacks of a run: one keeps the curves, one the checkpoint."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmark.run.curve import SECONDS, Curve, Summary
from benchmark.utils.errors import FullError
from benchmark.utils.files import digest, space_for, sync
from benchmark.utils.machine import peak_memory_mb, reset_peak_memory

log = logging.getLogger("benchmark")

CHECKPOINTS = "round-*.ckpt"
"""Their names in a cell's work folder: the round, then the SHA-256 of the bytes."""

OnRound = Callable[[int, dict[str, float]], None]
"""Told of every finished round: its number from 0, its metrics, and how long it took."""


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
            self.on_round(trainer.current_epoch, outputs | {SECONDS: self.round_seconds[-1]})

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
    """Saves the run every few rounds: written beside, then renamed to a name with its digest.

    Lightning's ModelCheckpoint deletes the old file and writes the new one; a kill between the
    two would lose both. A file whose bytes are not those of its name, or that is of another cell,
    is put aside: nothing goes on from it.

    Args:
        folder: for the checkpoint.
        cell: id of the run.
        every: rounds between checkpoints.
        last: after so many there is one too.
    """

    def __init__(self, folder: Path, cell: str, every: int, last: int = 0):
        self.folder, self.cell, self.every, self.last = folder, cell, every, last

    def state_dict(self) -> dict[str, Any]:
        """Whose checkpoint it is."""
        return {"cell": self.cell}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save after the Recorder has seen the round."""
        rounds = trainer.current_epoch + 1
        if rounds % self.every == 0 or rounds == self.last:
            self.keep(trainer.save_checkpoint, rounds)

    def keep(self, write: Callable[[Path], None], rounds: int) -> None:
        """Put the state after so many rounds, by ``write``, in the place of earlier ones."""
        beside = self.folder / "checkpoint.new"
        try:
            with space_for(beside):
                write(beside)
                sync(beside)
        except FullError:
            beside.unlink(missing_ok=True)
            raise
        saved = beside.replace(self.folder / _name(rounds - 1, beside))
        for earlier in set(self.folder.glob(CHECKPOINTS)) - {saved}:
            earlier.unlink()

    def usable(self) -> str | None:
        """The checkpoint to go on from; what is damaged or another cell's is put aside."""
        for path in sorted(self.folder.glob(CHECKPOINTS), reverse=True):
            saved = _read(path)
            if saved and _state(saved, Checkpoint).get("cell") == self.cell:
                return str(path)
            fault = "another cell's" if saved else "damaged"
            aside = path.replace(path.with_suffix(".damaged"))
            log.warning("%s: %s; starting at an earlier round", aside, fault)
        return None


def recorded(work: Path) -> dict[str, Curve]:
    """The curves of an unfinished run as its checkpoint has them; none without a usable one.

    Args:
        work: folder of the checkpoint.
    """
    with suppress(FileNotFoundError):  # another process may end the run meanwhile
        for path in sorted(work.glob(CHECKPOINTS), reverse=True):
            if saved := _read(path):
                curves = _state(saved, Recorder)["curves"]
                return {name: Curve(*curve) for name, curve in curves.items()}
    return {}


def _name(round: int, path: Path) -> str:
    return f"round-{round:07}-{digest(path)}.ckpt"


def _read(path: Path) -> dict[str, Any] | None:
    """A checkpoint whose bytes are those that were written."""
    try:
        if path.name != _name(int(path.name.split("-")[1]), path):
            return None
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return saved
    except Exception:  # torch.load raises whatever a damage makes of the pickle
        return None


def _state(saved: dict[str, Any], callback: type[pl.Callback]) -> dict[str, Any]:
    state: dict[str, Any] = saved["callbacks"].get(callback.__qualname__, {})
    return state


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
