"""Rounds in which an attack is at work, on a small network and noise."""

from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    AttackSetting,
    CompromisedClient,
    Knowledge,
)
from benchmark.defenses.norm_clip import NormClip
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.federation.adversary import simulator
from benchmark.testing.toys import (
    defense_context,
    make_split,
    seeded,
    toy_network,
    untouched,
)

K = 8


def client(slot: int = 0, images: int = 9, M: int = 1) -> CompromisedClient:
    """A place in a cohort, with local data of its own."""
    indices = torch.arange(10 * slot, 10 * slot + images)
    local = Examples(indices, indices % 10)
    return CompromisedClient(
        local,
        2,
        4,
        0,
        slot,
        slot,
        user=slot,
        rank=slot,
        boost=K / M,
        num_clients=K,
        num_compromised=M,
    )


def backdoor(images: int = 7) -> Examples:
    """D_mal."""
    return Examples(torch.arange(50, 50 + images), torch.ones(images, dtype=torch.int64))


def bench(dtype: torch.dtype = torch.float32) -> Workbench:
    """Of :func:`toy_network` and 60 images of noise."""
    module, engine = ClientModule(toy_network(), lr=0.1).to(dtype), ReferenceEngine()
    engine.setup(module, make_split([60], seeded()))
    return Workbench(module, engine, engine.data)


def ready(attack: Attack) -> Attack:
    """Set up for :func:`bench`."""
    layers = bench().client.layers
    attack.setup(AttackSetting(60, K, layers[-1].place.stop, 5, layers))
    return attack


def crafted(
    attack: Attack, rounds: range, M: int = 2, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """What M clients submit in each of these rounds, with no more than the attack may know."""
    tools, results, knowledge = bench(dtype), [], attack.knowledge
    P = tools.client.num_parameters
    for t in rounds:
        # Drawn in one precision: another would draw other numbers.
        start = torch.randn(P, generator=seeded(8 + t)).to(dtype) / 5
        honest = torch.randn(K - M, P, generator=seeded(t + 9)).to(dtype) / 10
        members = tuple(replace(client(slot, M=M), round=t) for slot in range(M))
        context = AttackContext(
            round=t,
            seed=0,
            start=start,
            boosts=torch.full((M,), K / M, dtype=torch.float64),
            layers=tools.client.layers,
            clients=torch.arange(M),
            members=members,
            num_clients=K,
            backdoor=backdoor(),
            workbench=tools,
        )
        attack.observe(t, start)
        attack.before_training(context)
        lanes = [attack.lanes(member, backdoor(), member.boost) for member in members]
        trained = tools.engine.train(start, Plan(t, [*chain(*lanes)])).updates.view(M, -1, P)
        if knowledge >= Knowledge.UPDATES:
            context = replace(context, honest_updates=honest, honest_clients=torch.arange(M, K))
        if knowledge >= Knowledge.DEFENSE:
            everybody = torch.cat([trained[:, 0], honest])
            places, weights = torch.arange(K) < M, torch.full((K,), 1 / K)
            told = replace(defense_context(P, K, t), theta=start, layers=tools.client.layers)
            asked = simulator(NormClip(1.0), everybody, weights, places, told)
            context = replace(context, simulate=asked)
        with untouched(trained, start, context.boosts, context.honest_updates):
            results.append(attack.craft(trained, context))
    return results


def context(tools: Workbench, theta: Tensor) -> AttackContext:
    """Of a round in which :func:`client` is compromised, before there are updates."""
    boosts, members = torch.tensor([float(K)]), (client(),)
    return AttackContext(
        round=0,
        seed=0,
        start=theta,
        boosts=boosts,
        layers=tools.client.layers,
        clients=torch.tensor([0]),
        members=members,
        num_clients=K,
        backdoor=backdoor(),
        workbench=tools,
    )
