"""Defenses on arrays, without a federation."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from benchmark.config.compose import named
from benchmark.data.dataset import Split
from benchmark.defenses.base import Aggregation, Defense, DefenseContext, DefenseSetting
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.contract import check_fit
from benchmark.testing.arrays import (
    Layers,
    check_widths,
    given_layers,
    identities,
    matrix,
    shares,
    vector,
)


def aggregate(
    defense: str | Defense,
    updates: Any,
    *,
    theta: Any = None,
    weights: Any = None,
    layers: Layers | None = None,
    model: nn.Module | None = None,
    clients: Any = None,
    root: Any = None,
    history: Sequence[Any] = (),
    seed: int = 0,
    round: int | None = None,
    image: Sequence[int] = (1, 28, 28),
    **parameters: Any,
) -> Aggregation:
    """What a defense makes of the updates of one round.

    >>> updates = [[0.0], [1.0], [2.0], [3.0], [10.0]]
    >>> aggregate("krum", updates, assumed_compromised=1).update
    tensor([1.])

    Args:
        defense: the name of a yaml in ``conf/defense``, or one that was built; its state goes on.
        updates: ``(K, P)``, local − global; an array, a tensor, nested lists, or a list of
            vectors. Whole numbers and half precision are computed in torch's default precision.
        theta: the global model ``(P,)`` before the round; by default 0.
        weights: ``(K,)``, scaled to sum 1; by default uniform. Text is the defense's own parameter
            of this name.
        layers: of the model, or name → shape in the order of a flat vector, of which the last
            is the output layer and those of four axes are convolutions; by default one layer.
        model: a network of P parameters, for a defense that evaluates it; it says what the layers
            are.
        clients: ``(K,)`` identities; by default 0 to K − 1.
        root: for a defense that needs root data: the update ``(P,)`` of the server's own training,
            or a tuple of images ``(n, C, H, W)`` or gray ``(n, H, W)`` uint8 and labels ``(n,)``
            that ``model`` reads.
        history: earlier rounds, each its updates, or a mapping of ``updates`` with ``theta``,
            ``weights``, ``clients`` or ``root`` of its own.
        seed: of what the defense draws.
        image: ``(C, H, W)`` that ``model`` takes, where no root data say it.
        round: number of the round; by default the number of earlier ones.
        parameters: of the defense, over those of its yaml.

    Raises:
        ValueError: the defense refuses: too few clients, weights that it cannot honor, a parameter
            out of its range; or what is given does not fit together.
        UserError: there is no such defense or parameter.
    """
    if isinstance(weights, str):
        parameters["weights"], weights = weights, None
    given = {"theta": theta, "weights": weights, "clients": clients, "root": root}
    first = (len(history) if round is None else round) - len(history)
    if first < 0:
        raise ValueError(f"round {round} cannot follow {len(history)} earlier ones, from round 0")
    built = named("defense", defense, **parameters) if isinstance(defense, str) else defense
    held = _held(built, model, root, image)
    rounds = []
    for number, earlier in enumerate([*history, {"updates": updates}]):
        own = given | (dict(earlier) if isinstance(earlier, Mapping) else {"updates": earlier})
        if own.keys() != {*given, "updates"}:
            raise ValueError(
                f"an earlier round must have updates and may have {', '.join(given)}; "
                f"got {', '.join(earlier)}"
            )
        rows = matrix("updates", own["updates"])
        K, P = rows.shape
        update = None if isinstance(own["root"], tuple) else own["root"]
        context = DefenseContext(
            round=first + number,
            seed=seed,
            theta=vector("theta", own["theta"], rows, P),
            clients=identities(own["clients"], K),
            layers=held.client.layers if held else given_layers(layers, P),
            root_update=None if update is None else vector("root", own["root"], rows, P),
            root=_examples(own["root"]) if update is None and root is not None else None,
            workbench=held,
        )
        rounds.append((rows, shares(own["weights"], K), context))
    if built.setting is None:
        set_up(built, [context for _, _, context in rounds])
    for rows, weighted, context in rounds:
        result = built.aggregate(rows, weighted, context)
    return result


def set_up(defense: Defense, contexts: Sequence[DefenseContext]) -> None:
    """For these rounds, the last of which ends the run.

    Raises:
        ValueError: the defense does not fit them.
    """
    check_widths(len(context.theta) for context in contexts)
    context = contexts[0]
    setting = DefenseSetting(
        num_users=max(max(len(x.clients), int(x.clients.max()) + 1) for x in contexts),
        clients_per_round=len(context.clients),
        num_parameters=len(context.theta),
        rounds=contexts[-1].round + 1,
        layers=context.layers,
        has_root_data=context.root_update is not None or context.root is not None,
        root_images=0 if context.root is None else len(context.root),
    )
    check_fit(defense, setting)
    defense.setup(setting)


def _held(
    defense: Defense, model: nn.Module | None, root: Any, image: Sequence[int]
) -> Workbench | None:
    name = type(defense).__name__
    if root is not None and not defense.needs_root_data:
        raise ValueError(f"{name} has no use for root data")
    if isinstance(root, tuple) and type(defense).server_lane is not Defense.server_lane:
        raise ValueError(f"{name} trains on its root data: root is the update that came of it")
    if model is None:
        if isinstance(root, tuple):
            raise ValueError(f"{name} evaluates a model on its root data: give it by model=")
        return None
    images, labels = root if isinstance(root, tuple) else (torch.zeros(0, *image), torch.zeros(0))
    images, labels = torch.as_tensor(images), torch.as_tensor(labels).long()
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4:
        raise ValueError(f"root images must be (n, C, H, W), got {tuple(images.shape)}")
    client = ClientModule(copy.deepcopy(model), lr=0.1)
    data = Split(images, labels, torch.tensor([0, len(labels)]))
    engine = ReferenceEngine()
    engine.setup(client, data)
    return Workbench(client, engine, data)


def _examples(root: tuple[Any, Any]) -> Examples:
    return Examples(torch.arange(len(root[1])), torch.as_tensor(root[1]).long())
