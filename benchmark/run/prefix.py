"""The rounds before anybody attacks: they know no attack and no task, so cells share them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackSetting
from benchmark.data.dataset import FederatedDataset
from benchmark.federation.rounds import Federation
from benchmark.run.assembly import build
from benchmark.run.cell import Cell
from benchmark.run.recorder import Checkpoint, Recorder
from benchmark.run.trainer import fit
from benchmark.utils.errors import UserError
from benchmark.utils.files import locked

FOLDER = "prefixes"
"""Beside the folders of suites, which share it."""

_OWN = ("attack.", "task.")


class Onlooker(Attack):
    """Nobody is compromised; keeps the last global model for the attack that comes after it."""

    paper = "McMahan et al. 2017, arXiv 1602.05629 (FedAvg)"
    active = False
    theta: Tensor

    def setup(self, setting: AttackSetting) -> None:
        """Make room for it."""
        super().setup(setting)
        self.register_buffer("theta", torch.zeros(setting.num_parameters))

    def observe(self, round: int, theta: Tensor) -> None:
        """Keep it."""
        self.theta = theta.clone()


def shared_rounds(federation: Federation) -> int:
    """How many rounds are trained once for all attacks, tasks and participations."""
    return federation.participation.first_round


def begin(
    cell: Cell,
    folder: Path,
    federation: Federation,
    dataset: FederatedDataset,
    device: str,
    checkpoint: Checkpoint,
    recorder: Recorder,
) -> None:
    """Let a cell that has not begun go on from the rounds before its first attack.

    They are trained once for each setting, defense and seed, and kept beside the suites' results;
    anew where an engine made them that gives other bits than the one here. An attack that begins
    then is shown the last global model before.

    Args:
        cell: what runs.
        folder: results of its suite.
        federation: built of it.
        dataset: that it was built on.
        device: that it runs on.
        checkpoint: of the cell, to which the state is given.
        recorder: of the cell, which sees every round that is trained.
    """
    rounds = shared_rounds(federation)
    if not rounds or checkpoint.usable():
        return
    own = _own_groups(cell, federation)
    key = f"{cell.config['defense']['name']}-s{cell.seed}-{cell.digest(*own)}-{rounds}-{device}"
    home = folder.parent / FOLDER / key
    every = federation.protocol.checkpoint_every
    kept = Checkpoint(home, key, every, last=rounds)
    with locked(home.with_suffix(".lock")):
        home.mkdir(parents=True, exist_ok=True)
        path = kept.usable()
        saved = torch.load(path, map_location="cpu", weights_only=True) if path else None
        if saved and not _goes_on(federation, dataset.to(device), saved["engine"]):
            path = saved = None
        if saved is None or saved["epoch"] + 1 < rounds:
            clean = build(without_attack(cell.config, rounds), dataset)
            fit(clean, dataset, device, [recorder, kept], path, rounds)
            path = kept.usable()
            assert path
            saved = torch.load(path, map_location="cpu", weights_only=True)
    adopt(saved, federation, checkpoint, rounds)


def _goes_on(federation: Federation, dataset: FederatedDataset, engine: dict[str, Any]) -> bool:
    """Whether rounds that were trained by such an engine can be gone on from here."""
    federation.engine.setup(federation.client, dataset.train)
    try:
        federation.engine.restore(engine)
    except UserError:
        return False
    finally:
        # Clean rounds are trained by another, which may wait for what this one holds.
        federation.engine.release()
    return True


def _own_groups(cell: Cell, federation: Federation) -> Sequence[str]:
    """What the clean rounds do not depend on."""
    own = ["attack", "participation", "task"]
    protocol = federation.protocol
    # Whose images the server has may depend on who the targets are.
    return own[:2] if protocol.root_images and protocol.root_from != "all" else own


def without_attack(config: dict[str, Any], rounds: int) -> dict[str, Any]:
    """A configuration whose first so many rounds are the clean ones of another."""
    where = "benchmark.federation.participation.ListedRounds"
    late = {"name": "listed_rounds", "_target_": where, "rounds": [rounds], "num_compromised": 1}
    nobody = {"name": "none", "_target_": "benchmark.run.prefix.Onlooker"}
    return {**config, "attack": nobody, "participation": late}


def adopt(
    saved: dict[str, Any], federation: Federation, checkpoint: Checkpoint, rounds: int
) -> None:
    """Give a cell the state after so many clean rounds: all of it but its attack's and task's."""
    shared: dict[str, Tensor] = saved["state_dict"]
    federation.attack.observe(rounds - 1, shared["attack.theta"])
    state = {key: value for key, value in shared.items() if not key.startswith(_OWN)}
    own = federation.state_dict()
    saved["state_dict"] = state | {k: v for k, v in own.items() if k.startswith(_OWN)}
    saved["callbacks"][type(checkpoint).__qualname__] = checkpoint.state_dict()
    checkpoint.keep(lambda path: torch.save(saved, path), rounds)
