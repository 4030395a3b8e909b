"""The backdoor form of "a little is enough"."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.alie_backdoor import AlieBackdoor
from benchmark.attacks.base import AttackContext
from benchmark.engine.plan import Examples
from benchmark.engine.workbench import Workbench
from benchmark.testing import craft
from benchmark.testing.attack_toys import backdoor, bench, client
from benchmark.testing.toys import seeded

ROWS = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("own", "parameters", "expected"),
    [
        ([[9.0, -9.0]], {}, (3.225, -1.121)),
        ([[9.0, -9.0]], {"ddof": 1}, (3.5, -1.598)),
        ([[2.5, 0.5]], {}, (2.5, 0.5)),  # within the spread it is as it is
        ([[9.0, -9.0]], {"known": "own"}, (9, -9)),  # one update has no spread
        ([[[2.0, 1.0], [9.0, -9.0]]], {"known": "own"}, (2, 1)),  # an honest lane before it
    ],
)
def test_clipped_by_hand(own: Any, parameters: dict[str, Any], expected: tuple[float, float]):
    found = craft("alie_backdoor", own, honest=ROWS, **parameters)
    assert found.tolist()[0] == pytest.approx(expected, abs=1e-3)


def told(tools: Workbench, start: Tensor, honest: Tensor, poison: Examples) -> AttackContext:
    return AttackContext(
        round=0,
        seed=0,
        start=start,
        boosts=torch.ones(1),
        honest_updates=honest,
        layers=tools.client.layers,
        members=(client(),),
        num_clients=len(honest) + 1,
        backdoor=poison,
        workbench=tools,
    )


def test_it_is_trained_from_the_mean_by_a_loop_written_by_hand():
    tools, poison = bench(torch.float64), backdoor()
    start = torch.randn(tools.client.num_parameters, generator=seeded(8)).double() / 5
    honest = torch.randn(3, len(start), generator=seeded(9)).double() / 10
    attack = AlieBackdoor(z=1e6, epochs=2, distance=2.0, weight_decay=0.1, batch_size=100)
    context = told(tools, start, honest, poison)
    found = attack.craft(torch.zeros(1, 1, len(start)).double(), context)[0]
    anchor = start + honest.mean(dim=0)
    theta = anchor.clone()
    lane = client().batches(poison, 2, 100, "backdoor")
    for step, size in enumerate(lane.sizes):
        where = lane.indices[step, :size]
        images = tools.pixels(where, torch.float64)
        _, gradient = tools.gradient(theta, images, lane.labels[step, :size])
        pull = torch.zeros_like(theta)
        for layer in tools.client.layers:
            part = layer.place
            pull[part] = 2 * 2.0 * (theta - anchor)[part] / (part.stop - part.start)
        theta = theta - 0.1 * (gradient + pull + 0.1 * theta)
    assert torch.allclose(found, theta - start, rtol=1e-9, atol=1e-12)


def test_all_submit_the_same_within_the_spread():
    tools, start = bench(torch.float64), torch.zeros(410).double()
    start[-8] = 1.0  # the output's bias of a class that is not wanted
    honest = torch.randn(4, 410, generator=seeded(9)).double() / 10
    context = told(tools, start, honest, backdoor())
    context = replace(context, members=(client(0), client(1)), boosts=torch.ones(2))
    found = AlieBackdoor(z=0.5, epochs=2).craft(torch.zeros(2, 1, 410).double(), context)
    assert torch.equal(found[0], found[1])
    spread = honest.std(dim=0, correction=0)
    assert ((found[0] - honest.mean(dim=0)).abs() <= 0.5 * spread + 1e-12).all()
    assert ((found[0] - honest.mean(dim=0)).abs() > 0.4 * spread).any()


def test_what_holds_already_is_not_trained():
    tools, start = bench(torch.float64), torch.zeros(410).double()
    start[-9] = 1.0  # the output's bias of class 1, the class wanted
    honest = torch.zeros(3, 410).double()
    context = told(tools, start, honest, backdoor())
    found = AlieBackdoor(z=1e6, epochs=1).craft(torch.ones(1, 1, 410).double(), context)
    assert not found.any()
