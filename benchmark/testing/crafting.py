"""Attacks on arrays, without a federation."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    AttackSetting,
    CompromisedClient,
    Knowledge,
)
from benchmark.config.compose import named
from benchmark.defenses.base import Defense, DefenseContext
from benchmark.engine.plan import Examples
from benchmark.federation.adversary import simulator
from benchmark.federation.contract import checked_submission
from benchmark.tasks.base import Task
from benchmark.testing.arrays import (
    Layers,
    check_widths,
    given_layers,
    identities,
    in_lanes,
    matrix,
    vector,
)
from benchmark.testing.equipment import Equipment, equip
from benchmark.testing.functions import set_up

_NOBODY = Examples(torch.arange(1), torch.zeros(1, dtype=torch.int64))


def craft(
    name: str | Attack,
    updates: Any = None,
    *,
    honest: Any = None,
    boosts: Any = None,
    start: Any = None,
    previous: Any = None,
    layers: Layers | None = None,
    clients: Any = None,
    defense: str | Defense | None = None,
    model: nn.Module | None = None,
    examples: Any = None,
    task: str | Task | None = None,
    training: Mapping[str, Any] = MappingProxyType({}),
    history: Sequence[Any] = (),
    seed: int = 0,
    round: int | None = None,
    **parameters: Any,
) -> Tensor:
    """What the compromised clients of one round submit.

    >>> craft("boosted", [[1.0, -2.0]], honest=[[0.0, 0.0], [1.0, 1.0]])
    tensor([[ 3., -6.]])

    An attack that trains while it crafts is given a model and the images of the compromised; a task
    plants its trigger in copies of them, as in a federation:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> images, labels = torch.rand(6, 8, 8), torch.tensor([0, 1, 0, 1, 0, 1])
    >>> craft("chameleon", model=model, examples=(images, labels)).shape
    torch.Size([1, 270])

    Args:
        name: of a yaml in ``conf/attack``; or an attack that was built, whose state goes on.
        updates: ``(M, P)``, what the compromised trained, or ``(M, L, P)`` of an attack that
            trains several lanes a client; arrays, tensors or nested lists as for
            :func:`benchmark.testing.aggregate`, whose precision the result has. With ``examples``
            None has the attack train them, in the precision of ``model``.
        honest: ``(H, P)`` of the others, for an attack that knows them.
        boosts: ``(M,)`` boosting factors β, or one for all; by default K/M, with K = M + H.
        start: the global model ``(P,)`` that the round begins with; by default the weights of
            ``model``, else 0.
        previous: that of the round before, which the attack is shown first.
        layers: as for :func:`benchmark.testing.aggregate`.
        clients: identities ``(M,)`` of the compromised, or ``(K,)`` of all, the compromised first;
            by default 0 to K − 1.
        defense: a name, or one that was built, for an attack that asks a copy of it. Its rows are
            the compromised, then the honest, of uniform weight.
        model: a network of P parameters, for an attack that trains or evaluates it; it says what
            the layers are.
        examples: with it, what the compromised have: a tuple of images ``(n, C, H, W)`` or gray
            ``(n, H, W)``, in [0, 1] or uint8, and true labels ``(n,)``; of several clients a list
            of such tuples.
        task: what is planted, by the name of a yaml in ``conf/task`` or built, which is set up for
            these images and has the trigger afterwards that the attack learned; by default what
            the attack needs, else ``pattern``. D_mal is of the images of all.
        training: how clients train: ``client_lr``, ``local_epochs`` and ``batch_size`` instead of
            0.1, 1 and 20.
        history: earlier rounds, each its updates, or a mapping of ``updates`` with ``honest``,
            ``boosts``, ``start`` or ``clients`` of its own.
        seed: of what attack, task and defense draw.
        round: number of the round; by default the number of earlier ones.
        parameters: of the attack, over those of its yaml.

    Raises:
        ValueError: the attack refuses: honest updates, a model or a defense that it needs and has
            not, a parameter out of its range; or what is given does not fit together.
        UserError: there is no such attack, defense, task or parameter.
    """
    given = {"honest": honest, "boosts": boosts, "start": start, "clients": clients}
    first = (len(history) if round is None else round) - len(history)
    if first < 0:
        raise ValueError(f"round {round} cannot follow {len(history)} earlier ones, from round 0")
    built = named("attack", name, **parameters) if isinstance(name, str) else name
    asked = named("defense", defense) if isinstance(defense, str) else copy.deepcopy(defense)
    held = equip(built, model, examples, task, training, seed)
    rounds = []
    for number, earlier in enumerate([*history, {"updates": updates}]):
        own = given | (dict(earlier) if isinstance(earlier, Mapping) else {"updates": earlier})
        if own.keys() != {*given, "updates"}:
            raise ValueError(
                f"an earlier round must have updates and may have {', '.join(given)}; "
                f"got {', '.join(earlier)}"
            )
        rounds.append(_round(own, first + number, seed, layers, held))
    check_widths(len(told.start) for _, told, _ in rounds)
    if asked and asked.setting is None:
        set_up(asked, [context for _, _, context in rounds])
    if built.setting is None:
        _set_up(built, rounds, held)
    _, told, _ = rounds[0]
    if previous is not None:
        built.observe(first - 1, vector("previous", previous, told.start, len(told.start)))
    for given_updates, told, context in rounds:
        built.observe(told.round, told.start)
        blind = replace(told, honest_updates=None, honest_clients=None)
        built.before_training(blind)
        if held:
            held.replant()
        trained = _trained(built, given_updates, told, held)
        M, _, P = trained.shape
        honest = [] if told.honest_updates is None else [told.honest_updates]
        K = told.num_clients
        weights = torch.full((K,), 1 / K, dtype=torch.float64)
        known = told if built.knowledge >= Knowledge.UPDATES else blind
        if asked and built.knowledge >= Knowledge.DEFENSE:
            rows, compromised = torch.cat([trained[:, 0], *honest]), torch.arange(K) < M
            known = replace(known, simulate=simulator(asked, rows, weights, compromised, context))
        result = checked_submission(built, built.craft(trained, known), M, P)
        if asked and told is not rounds[-1][1]:
            asked.aggregate(torch.cat([result, *honest]), weights, context)
    return result


def _round(
    given: Mapping[str, Any],
    round: int,
    seed: int,
    layers: Layers | None,
    held: Equipment | None,
) -> tuple[Tensor | None, AttackContext, DefenseContext]:
    """What was trained, ``(M, L, P)``, and what attack and defense know."""
    if given["updates"] is None and held:
        trained, like, M = None, held.weights, held.num_clients
    else:
        like = trained = in_lanes(given["updates"])
        M = len(trained)
    P = like.shape[-1]
    honest = None
    if given["honest"] is not None:
        honest = matrix("honest", given["honest"], like)
        if honest.shape[1] != P:
            raise ValueError(f"honest must be (clients, {P}), got {tuple(honest.shape)}")
    K = M if honest is None else M + len(honest)
    boosts = torch.as_tensor(
        K / M if given["boosts"] is None else given["boosts"], dtype=torch.float64
    )
    if boosts.shape not in ((), (1,), (M,)):
        raise ValueError(f"boosts must be {M} numbers, one of each compromised client, or one")
    clients = given["clients"]
    if clients is not None and len(clients) == M:
        own = identities(clients, M)
        others = torch.arange(K)[~torch.isin(torch.arange(K), own)]
        clients = torch.cat([own, others[: K - M]])
    everybody = identities(clients, K)
    begun = held.weights if given["start"] is None and held else given["start"]
    start = vector("start", begun, like, P)
    where = held.workbench.client.layers if held else given_layers(layers, P)
    told = AttackContext(
        round=round,
        seed=seed,
        start=start,
        boosts=boosts.expand(M),
        honest_updates=honest,
        honest_clients=None if honest is None else everybody[M:],
        layers=where,
        clients=everybody[:M],
        num_clients=K,
    )
    told, bench = (held.equipped(told), held.workbench) if held else (told, None)
    return trained, told, DefenseContext(round, seed, start, everybody, where, workbench=bench)


def _set_up(
    attack: Attack,
    rounds: Sequence[tuple[Tensor | None, AttackContext, DefenseContext]],
    held: Equipment | None,
) -> None:
    _, told, _ = rounds[0]
    attack.setup(
        AttackSetting(
            num_users=max(max(len(x.clients), int(x.clients.max()) + 1) for _, _, x in rounds),
            clients_per_round=told.num_clients,
            num_parameters=len(told.start),
            rounds=rounds[-1][1].round + 1,
            layers=told.layers,
            **(held.training if held else {}),
        )
    )


def _trained(
    attack: Attack, given: Tensor | None, told: AttackContext, held: Equipment | None
) -> Tensor:
    """What the compromised trained, ``(M, L, P)``, or are to train now."""
    if held:
        lanes = held.lanes(attack, told)
    else:
        client = CompromisedClient(_NOBODY, epochs=1, batch_size=1, seed=0, round=0, slot=0)
        lanes = [attack.lanes(client, _NOBODY, 1.0)]
    if given is None:
        assert held
        updates = held.workbench.train(told.start, [*chain(*lanes)], told.round)
        return updates.view(len(lanes), -1, updates.shape[1])
    wanted, (M, L, P) = len(lanes[0]), given.shape
    if wanted > L:
        raise ValueError(
            f"{type(attack).__name__} trains {wanted} lanes a client: updates must be "
            f"({M}, {wanted}, {P}), got ({M}, {L}, {P})"
        )
    return given
