"""What attacks on arrays train with, where a model and images are given: the adversary's side."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient
from benchmark.config.compose import named
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, Lane
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.contract import check_trigger, task_needed
from benchmark.tasks.base import Task
from benchmark.tasks.planting import Planted

LOCAL_TRAINING = {"client_lr": 0.1, "local_epochs": 1, "batch_size": 20}
"""How clients train, unless told otherwise."""


@dataclass(frozen=True)
class Equipment:
    """A model, and images of the compromised with what the task plants of them.

    Attributes:
        workbench: the model, trained by the reference engine.
        task: whose trigger the attack may learn.
        planted: in the images of the compromised, the users 0, 1, ….
        training: how clients train, see :data:`LOCAL_TRAINING`.
    """

    workbench: Workbench
    task: Task
    planted: Planted
    training: Mapping[str, Any]

    @property
    def num_clients(self) -> int:
        """Who have images."""
        return self.planted.train.num_users

    @property
    def weights(self) -> Tensor:
        """The model's own, ``(P,)``."""
        return self.workbench.client.flat()

    def equipped(self, told: AttackContext) -> AttackContext:
        """What an attacker knows, with the model and the images of the M of the round."""
        M, data = len(told.boosts), self.planted.train
        if self.num_clients < M:
            raise ValueError(
                f"examples are of {self.num_clients} clients, {M} are compromised in round "
                f"{told.round}"
            )
        clients = told.clients
        assert clients is not None
        members = [
            CompromisedClient(
                local=Examples(data.user(place), data.labels[data.user(place)]),
                epochs=self.training["local_epochs"],
                batch_size=self.training["batch_size"],
                seed=told.seed,
                round=told.round,
                slot=place,
                lr=self.training["client_lr"],
                user=int(clients[place]),
                rank=place,
                boost=float(told.boosts[place]),
                num_clients=told.num_clients,
                num_compromised=M,
                poisoned=self.planted.own[place] if self.task.plants_own else (),
            )
            for place in range(M)
        ]
        return replace(
            told,
            members=tuple(members),
            backdoor=self.planted.backdoor,
            workbench=self.workbench,
            trigger=self.task,
        )

    def replant(self) -> None:
        """What the attack learned of the trigger is on the images from now on."""
        if self.task.state_dict():
            self.task.replant(self.planted)

    def lanes(self, attack: Attack, told: AttackContext) -> list[list[Lane]]:
        """What each of the compromised trains."""
        assert told.backdoor
        return [attack.lanes(member, told.backdoor, member.boost) for member in told.members]


def equip(
    attack: Attack,
    model: nn.Module | None,
    examples: Any,
    task: str | Task | None,
    training: Mapping[str, Any],
    seed: int,
) -> Equipment | None:
    """None where there are arrays only.

    Args:
        attack: which trains with it.
        model: images to logits.
        examples: a tuple of images and labels, or a list of such, one for each client.
        task: a name, or one that was built; None for what the attack needs, else ``pattern``.
        training: some of :data:`LOCAL_TRAINING`.
        seed: of what the task draws.

    Raises:
        ValueError: model or examples are missing, or something else than that.
    """
    if model is None and examples is None:
        if attack.learns:
            name = type(attack).__name__
            raise ValueError(f"{name} learns its trigger: craft(..., model=..., examples=...)")
        return None
    if model is None or examples is None:
        missing = "model" if model is None else "examples"
        raise ValueError(f"craft trains a model on examples: {missing}= is missing")
    if unknown := sorted({*training} - {*LOCAL_TRAINING}):
        raise ValueError(f"training may have {', '.join(LOCAL_TRAINING)}; got {unknown[0]}")
    how = LOCAL_TRAINING | dict(training)
    split = _split([examples] if isinstance(examples, tuple) else examples)
    users, client = split.num_users, ClientModule(copy.deepcopy(model), how["client_lr"])
    chosen = task or task_needed(attack) or "pattern"
    wants = named("task", chosen, num_tasks=users) if isinstance(chosen, str) else chosen
    with torch.no_grad():
        classes = client.eval()(split.pixels(torch.arange(1), client.flat().dtype)).shape[1]
    data = FederatedDataset(split, split, classes, {})
    wants.setup(data, seed)
    check_trigger(attack, wants)
    planted = wants.plant(data, range(users))
    engine = ReferenceEngine()
    engine.setup(client, planted.train)
    return Equipment(Workbench(client, engine, planted.train), wants, planted, how)


def _split(pairs: Sequence[Any]) -> Split:
    """Of users 0, 1, …."""
    if not len(pairs) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("examples must be a tuple (images, labels), or a list of such tuples")
    images, labels = zip(*(_checked(*pair) for pair in pairs), strict=True)
    offsets = torch.tensor([0, *map(len, labels)]).cumsum(0)
    return Split(torch.cat(images), torch.cat(labels), offsets)


def _checked(images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """As a data set keeps them: uint8 ``(n, C, H, W)``, int64 ``(n,)``."""
    seen, read = torch.as_tensor(images).detach(), torch.as_tensor(labels).long()
    seen = seen.unsqueeze(1) if seen.dim() == 3 else seen
    if seen.dim() != 4 or not len(seen) or read.shape != (len(seen),):
        raise ValueError(
            "examples must be images (n, C, H, W) or (n, H, W) and n labels, "
            f"got {tuple(seen.shape)} and {tuple(read.shape)}"
        )
    if seen.dtype == torch.uint8:
        return seen, read
    if not ((seen >= 0) & (seen <= 1)).all():
        raise ValueError("images of examples must lie within [0, 1], or be uint8")
    return (seen * 255).round().to(torch.uint8), read
