"""Defenses on arrays, without a federation."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.config.compose import named
from benchmark.data.dataset import Split
from benchmark.defenses.base import Aggregation, Defense, DefenseContext, DefenseSetting
from benchmark.engine.client import ClientModule, Layer, layers_of
from benchmark.engine.plan import Examples
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.contract import check_fit

Layers = Sequence[Layer] | Mapping[str, Sequence[int]]


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
    **parameters: Any,
) -> Aggregation:
    """What a defense makes of the updates of one round.

    >>> updates = [[0.0], [1.0], [2.0], [3.0], [10.0]]
    >>> aggregate("krum", updates, assumed_compromised=1).update
    tensor([1.])

    Args:
        defense: the name of a yaml in ``conf/defense``, or one that was built; its state goes on.
        updates: ``(K, P)``, local − global; an array, a tensor or nested lists.
        theta: the global model ``(P,)`` before the round; by default 0.
        weights: ``(K,)``, scaled to sum 1; by default uniform. Text is the defense's own parameter
            of this name.
        layers: of the model, or name → shape in the order of a flat vector, of which the last
            is the output layer and those of four axes are convolutions; by default one layer.
        model: a network of P parameters, for a defense that evaluates it; it says what the layers
            are.
        clients: ``(K,)`` identities; by default 0 to K − 1.
        root: for a defense that needs root data: the update ``(P,)`` of the server's own training,
            or a tuple of images ``(n, 28, 28)`` uint8 and labels ``(n,)`` to evaluate ``model`` on.
        history: earlier rounds, each its updates, or a mapping of ``updates`` with ``theta``,
            ``weights``, ``clients`` or ``root`` of its own.
        seed: of what the defense draws.
        round: number of the round; by default the number of earlier ones.
        parameters: of the defense, over those of its yaml.

    Raises:
        ValueError: the defense refuses: too few clients, weights that it cannot honor, a parameter
            out of its range.
        UserError: there is no such defense or parameter.
    """
    if isinstance(weights, str):
        parameters["weights"], weights = weights, None
    given = {"theta": theta, "weights": weights, "clients": clients, "root": root}
    first = (len(history) if round is None else round) - len(history)
    built = named("defense", defense, **parameters) if isinstance(defense, str) else defense
    held = _held(built, model, root)
    result = None
    for number, earlier in enumerate([*history, {"updates": updates}]):
        own = given | (dict(earlier) if isinstance(earlier, Mapping) else {"updates": earlier})
        rows = _floats(own["updates"])
        K, P = rows.shape
        update = None if isinstance(own["root"], tuple) else own["root"]
        context = DefenseContext(
            round=first + number,
            seed=seed,
            theta=rows.new_zeros(P) if own["theta"] is None else _floats(own["theta"]).to(rows),
            clients=torch.arange(K) if own["clients"] is None else torch.as_tensor(own["clients"]),
            layers=held.client.layers if held else _layers(layers, P),
            root_update=None if update is None else _floats(update).to(rows),
            root=_examples(own["root"]) if update is None and root is not None else None,
            workbench=held,
        )
        shares = torch.ones(K) if own["weights"] is None else _floats(own["weights"])
        shares = shares.double() / shares.double().sum()
        if built.setting is None:
            _set_up(built, context, shares, max(int(context.clients.max()) + 1, K))
        result = built.aggregate(rows, shares, context)
    assert result
    return result


def _set_up(defense: Defense, context: DefenseContext, weights: Tensor, num_users: int) -> None:
    setting = DefenseSetting(
        num_users=num_users,
        clients_per_round=len(weights),
        num_parameters=len(context.theta),
        rounds=context.round + 1,
        layers=context.layers,
        has_root_data=context.root_update is not None or context.root is not None,
    )
    check_fit(defense, setting)
    defense.setup(setting)


def _held(defense: Defense, model: nn.Module | None, root: Any) -> Workbench | None:
    name = type(defense).__name__
    if root is not None and not defense.needs_root_data:
        raise ValueError(f"{name} has no use for root data")
    if isinstance(root, tuple) and type(defense).server_lane is not Defense.server_lane:
        raise ValueError(f"{name} trains on its root data: root is the update that came of it")
    if model is None:
        if isinstance(root, tuple):
            raise ValueError(f"{name} evaluates a model on its root data: give it by model=")
        return None
    images, labels = root if isinstance(root, tuple) else (torch.zeros(0, 28, 28), torch.zeros(0))
    images, labels = torch.as_tensor(images), torch.as_tensor(labels).long()
    client = ClientModule(copy.deepcopy(model), lr=0.1)
    data = Split(images, labels, torch.tensor([0, len(labels)]))
    engine = ReferenceEngine()
    engine.setup(client, data)
    return Workbench(client, engine, data)


def _examples(root: tuple[Any, Any]) -> Examples:
    return Examples(torch.arange(len(root[1])), torch.as_tensor(root[1]).long())


def _floats(values: Any) -> Tensor:
    found = torch.as_tensor(values)
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def _layers(given: Layers | None, num_parameters: int) -> tuple[Layer, ...]:
    if given is None:
        return (Layer("all", slice(0, num_parameters), (num_parameters,), is_output=True),)
    if not isinstance(given, Mapping):
        return tuple(given)
    found = layers_of(given)
    if (held := found[-1].place.stop) != num_parameters:
        raise ValueError(f"layers hold {held} parameters, the updates {num_parameters}")
    return found
