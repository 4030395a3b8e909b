"""Defenses on arrays, without a federation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmark.config.compose import read_yaml, resolve
from benchmark.config.instantiate import construct
from benchmark.defenses.base import Aggregation, Defense, DefenseContext, DefenseSetting
from benchmark.engine.client import Layer
from benchmark.federation.contract import check_fit

Layers = Sequence[Layer] | Mapping[str, Sequence[int]]


def aggregate(
    defense: str | Defense,
    updates: Any,
    *,
    theta: Any = None,
    weights: Any = None,
    layers: Layers | None = None,
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
        weights: ``(K,)``, scaled to sum 1; by default uniform.
        layers: of the model, or name → shape in the order of a flat vector, of which the last
            is the output layer and those of four axes are convolutions; by default one layer.
        clients: ``(K,)`` identities; by default 0 to K − 1.
        root: the update ``(P,)`` of the server's own training, for a defense that needs root data.
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
    given = {"theta": theta, "weights": weights, "clients": clients, "root": root}
    first = (len(history) if round is None else round) - len(history)
    built = _built(defense, parameters) if isinstance(defense, str) else defense
    if root is not None and not built.needs_root_data:
        raise ValueError(f"{type(built).__name__} has no use for root data")
    result = None
    for number, earlier in enumerate([*history, {"updates": updates}]):
        own = given | (dict(earlier) if isinstance(earlier, Mapping) else {"updates": earlier})
        rows = _floats(own["updates"])
        K, P = rows.shape
        context = DefenseContext(
            round=first + number,
            seed=seed,
            theta=rows.new_zeros(P) if own["theta"] is None else _floats(own["theta"]).to(rows),
            clients=torch.arange(K) if own["clients"] is None else torch.as_tensor(own["clients"]),
            layers=_layers(layers, P),
            root_update=None if own["root"] is None else _floats(own["root"]).to(rows),
        )
        shares = torch.ones(K) if own["weights"] is None else _floats(own["weights"])
        shares = shares.double() / shares.double().sum()
        if number == 0:
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
        has_root_data=context.root_update is not None,
    )
    check_fit(defense, setting)
    defense.setup(setting)


def _built(name: str, parameters: Mapping[str, Any]) -> Defense:
    section = resolve("defense", name, {**read_yaml("defense", name), **parameters})
    # Not by `make`: a reviewer's test asks for the ValueError itself.
    built: Defense = construct(section)
    return built


def _floats(values: Any) -> Tensor:
    found = torch.as_tensor(values)
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def _layers(given: Layers | None, num_parameters: int) -> tuple[Layer, ...]:
    if given is None:
        return (Layer("all", slice(0, num_parameters), (num_parameters,), is_output=True),)
    if not isinstance(given, Mapping):
        return tuple(given)
    found, start = [], 0
    for name, shape in given.items():
        end = start + int(torch.Size(shape).numel())
        found.append(Layer(name, slice(start, end), tuple(shape), len(shape) == 4))
        start = end
    if start != num_parameters:
        raise ValueError(f"layers hold {start} parameters, the updates {num_parameters}")
    last = found[-1].name
    owner = last.rpartition(".")[0]
    return tuple(
        replace(x, is_output=x.name.startswith(f"{owner}.") if owner else x.name == last)
        for x in found
    )
