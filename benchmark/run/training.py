"""A cell through Lightning's Trainer: its rounds, its final model, its record."""

import hashlib
import io
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from benchmark.data.dataset import FederatedDataset
from benchmark.data.store import load
from benchmark.federation.contract import DivergedError
from benchmark.federation.rounds import Federation
from benchmark.run.assembly import build, choose_device
from benchmark.run.cell import Cell
from benchmark.run.curve import Curve, Summary
from benchmark.run.prefix import begin, shared_rounds
from benchmark.run.record import Cost, Divergence, Record
from benchmark.run.recorder import Checkpoint, OnRound, Recorder, summarize
from benchmark.run.trainer import fit
from benchmark.utils.files import atomic_file
from benchmark.utils.machine import environment


def check(cell: Cell) -> None:
    """Refuse what would refuse when the cell runs: parts that do not fit each other or the data.

    Raises:
        UserError: says which part, and what would fit.
    """
    choose_device(cell.config["device"], build(cell.config, resident(cell.data)).engine)


def train(cell: Cell, folder: Path, on_round: OnRound | None = None) -> Record:
    """Run all rounds that are left, and write the final model; the record is the caller's to write.

    A model that does not stay finite ends the run with what was measured until then.

    Args:
        cell: what to run.
        folder: results of a suite; checkpoints lie in its ``work/``.
        on_round: told of every round.

    Raises:
        UserError: parts that do not fit each other or the data.
    """
    dataset = resident(cell.data)
    federation = build(cell.config, dataset)
    device = choose_device(cell.config["device"], federation.engine)
    recorder = Recorder(on_round)
    every = federation.protocol.checkpoint_every
    checkpoint = Checkpoint(cell.work_path(folder), cell.id, every)
    try:
        begin(cell, folder, federation, dataset, device, checkpoint, recorder)
        fit(federation, dataset, device, [recorder, checkpoint], checkpoint.usable())
    except DivergedError as end:
        diverged = Divergence(end.round, str(end), end.honest, end.compromised)
        return _record(cell, dataset, federation, recorder, device, diverged)
    federation.client.load(federation.result)
    # By way of memory: where a disk is full torch says nothing that could be told from a fault.
    weights = io.BytesIO()
    torch.save(federation.client.model.state_dict(), weights)
    with atomic_file(cell.weights_path(folder)) as temporary:
        temporary.write_bytes(weights.getvalue())
    return _record(cell, dataset, federation, recorder, device)


def _record(
    cell: Cell,
    dataset: FederatedDataset,
    federation: Federation,
    recorder: Recorder,
    device: str,
    diverged: Divergence | None = None,
) -> Record:
    curves = recorder.curves
    attacked = curves.get("num_compromised", Curve())
    summary = {name: summarize(c, attacked, cell.rounds) for name, c in curves.items()}
    if diverged:
        summary = {name: replace(s, final=None, last_fifth=None) for name, s in summary.items()}
        main = summary.get("main_accuracy", Summary(None, None, None, None, None))
        summary["main_accuracy"] = replace(main, final=0.0, last_fifth=0.0)
    theta = federation.result.cpu().numpy()
    kind = dataset.facts["user_kind"]
    notes = [] if kind == "writers" else [f"the users are {kind}, not writers"]
    if shared := shared_rounds(federation):
        notes.append(f"rounds 0 to {shared - 1} are those that cells of its setting share")
    if diverged:
        notes.append(f"diverged in {diverged.reason}")
    elif federation.attack.active and not any(attacked.values):
        notes.append("no compromised client took part in any round: this is no attack")
    return Record(
        cell=cell.id,
        overrides=list(cell.overrides),
        config=cell.config,
        data=dict(federation.dataset.facts),
        code=cell.code,
        seed=cell.seed,
        curves=curves,
        summary=summary,
        weights_sha256=None if diverged else hashlib.sha256(theta.tobytes()).hexdigest(),
        cost=Cost(
            round_seconds=recorder.round_seconds,
            round_peak_memory_mb=recorder.round_peak_memory_mb,
            device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
            engine=f"{cell.config['engine']['name']} ({federation.engine.kind})",
            precision=f"{theta.dtype} {federation.engine.precision}",
            environment=environment(),
        ),
        notes=notes,
        diverged=diverged,
        goal=federation.attack.goal,
    )


@lru_cache(maxsize=2)
def resident(folder: Path) -> FederatedDataset:
    """The data of a folder, kept for the next cell."""
    return load(folder)
