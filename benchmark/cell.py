"""One federation from configuration to record."""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmark import __version__, config, fingerprint
from benchmark.building import build, choose_device
from benchmark.data.dataset import FederatedDataset
from benchmark.data.module import FederatedDataModule
from benchmark.data.store import load
from benchmark.federation import Federation
from benchmark.files import atomic_file, locked
from benchmark.machine import environment, one_thread
from benchmark.partitioning import partitioned
from benchmark.record import Cost, Record
from benchmark.recorder import Checkpoint, OnRound, Recorder, summarize

# What these say changes no number, so cells that differ in them alone are the same cell.
NOT_IN_THE_RESULT = (
    "tracking",
    "data.path",
    "data.url",
    "engine.workers",
    "federation.checkpoint_every",
)


@dataclass(frozen=True)
class Cell:
    """A federation to run.

    Attributes:
        overrides: what was chosen on top of ``conf/``.
        config: the resolved configuration.
        data: folder of its partitioned data.
        data_hash: content hash of that.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    data: Path
    data_hash: str

    @staticmethod
    def of(overrides: Sequence[str]) -> "Cell":
        """Compose, check, and partition the data where that is not done yet.

        Raises:
            UserError: the configuration or the data is not valid.
        """
        resolved = config.compose(overrides)
        folder, data_hash = partitioned(resolved)
        return Cell(tuple(overrides), resolved, folder, data_hash)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the source files that this cell uses."""
        targets = [
            self.config[group]["_target_"]
            for group in config.GROUPS
            if group not in ("data", "partition", "tracking")
        ]
        return fingerprint.fingerprint(
            [
                "benchmark.building",
                "benchmark.recorder",
                *(target.rpartition(".")[0] for target in targets),
            ]
        )

    @cached_property
    def id(self) -> str:
        """``attack-defense-s<seed>-<hash>`` of configuration, data and code."""
        relevant = json.loads(json.dumps(self.config))
        for key in NOT_IN_THE_RESULT:
            group, _, name = key.partition(".")
            (relevant[group].pop(name, None) if name else relevant.pop(group))
        text = json.dumps([relevant, self.data_hash, self.fingerprint], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        names = (self.config["attack"]["name"], self.config["defense"]["name"])
        return f"{'-'.join(names)}-s{self.seed}-{digest}"

    def check(self) -> None:
        """Refuse what would refuse when it runs: parts that do not fit each other or the data.

        Raises:
            UserError: says which part, and what would fit.
        """
        choose_device(self.config["device"], build(self.config, _resident(self.data)).engine)

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.config["seed"]

    @property
    def code(self) -> dict[str, str]:
        """What ran: version of the package, and :attr:`fingerprint`."""
        return {"version": __version__, "fingerprint": self.fingerprint}

    @property
    def rounds(self) -> int:
        """T."""
        return self.config["federation"]["rounds"]

    def record_path(self, folder: Path) -> Path:
        """Where the record lies in a suite's results."""
        return folder / "records" / f"{self.id}.json"

    def weights_path(self, folder: Path) -> Path:
        """Where the final global model lies, a ``state_dict``."""
        return folder / "weights" / f"{self.id}.pt"

    def work_path(self, folder: Path) -> Path:
        """Where checkpoints lie until the record does."""
        return folder / "work" / self.id

    def lock_path(self, folder: Path) -> Path:
        """What the process that runs the cell holds."""
        return folder / "work" / f"{self.id}.lock"


def run(cell: Cell, folder: Path, on_round: OnRound | None = None) -> Record:
    """Run a cell, or go on with it, or take its record if it is done; clear up after a kill.

    Args:
        cell: what to run.
        folder: results of a suite; the record goes to ``records/``, the final model to
            ``weights/``, and ``work/`` holds checkpoints until then.
        on_round: told of every round.

    Raises:
        UserError: parts that do not fit each other or the data.
        FloatingPointError: the training diverged.
    """
    path, work = cell.record_path(folder), cell.work_path(folder)
    with locked(cell.lock_path(folder)):
        for target in (path, cell.weights_path(folder)):
            for half_written in target.parent.glob(f".{target.name}.*"):
                half_written.unlink()
        if path.exists():
            shutil.rmtree(work, ignore_errors=True)
            return Record.read(path)
        work.mkdir(parents=True, exist_ok=True)
        dataset = _resident(cell.data)
        federation = build(cell.config, dataset)
        device = choose_device(cell.config["device"], federation.engine)
        recorder = Recorder(on_round)
        checkpoint = Checkpoint(work / "last.ckpt", federation.protocol.checkpoint_every)
        trainer = _trainer(cell.rounds, device, [recorder, checkpoint])
        # Sums split over threads round differently; the engine brings its own threads.
        with one_thread():
            _fit(trainer, federation, dataset, checkpoint.usable())
        federation.client.load(federation.theta.detach())
        with atomic_file(cell.weights_path(folder)) as temporary:
            torch.save(federation.client.model.state_dict(), temporary)
        record = _record(cell, dataset, federation, recorder, device)
        record.write(path)
        shutil.rmtree(work)
    return record


def _fit(
    trainer: pl.Trainer, federation: Federation, dataset: FederatedDataset, resume: str | None
) -> None:
    try:
        trainer.fit(federation, FederatedDataModule(dataset), ckpt_path=resume, weights_only=True)
    except SystemExit:
        # What Lightning makes of Ctrl-C.
        raise KeyboardInterrupt from None


def _trainer(rounds: int, device: str, callbacks: list[pl.Callback]) -> pl.Trainer:
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


@lru_cache(maxsize=2)
def _resident(folder: Path) -> FederatedDataset:
    return load(folder)


def _record(
    cell: Cell,
    dataset: FederatedDataset,
    federation: Federation,
    recorder: Recorder,
    device: str,
) -> Record:
    curves = recorder.curves
    attacked = curves["num_compromised"]
    theta = federation.theta.detach().cpu().numpy()
    kind = dataset.facts["user_kind"]
    notes = [] if kind == "writers" else [f"the users are {kind}, not writers"]
    if federation.attack.active and not any(attacked.values):
        notes.append("no compromised client took part in any round: this is no attack")
    return Record(
        cell=cell.id,
        overrides=list(cell.overrides),
        config=cell.config,
        data=dict(dataset.facts),
        code=cell.code,
        seed=cell.seed,
        curves=curves,
        summary={name: summarize(c, attacked, cell.rounds) for name, c in curves.items()},
        weights_sha256=hashlib.sha256(theta.tobytes()).hexdigest(),
        cost=Cost(
            round_seconds=recorder.round_seconds,
            round_peak_memory_mb=recorder.round_peak_memory_mb,
            device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
            engine=f"{cell.config['engine']['name']} ({federation.engine.kind})",
            precision=f"{theta.dtype} {federation.engine.precision}",
            environment=environment(),
        ),
        notes=notes,
    )
