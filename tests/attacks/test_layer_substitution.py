"""Which layers are the backdoor's, and what is made of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.layer_substitution import LayerSubstitution, critical, parted
from benchmark.engine.client import Layer, layers_of
from benchmark.engine.plan import Examples
from benchmark.testing import craft
from benchmark.testing.attack_toys import backdoor, bench, client, context, ready

LANES = [[[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]]
LAYERS = {"a.weight": (2,), "b.weight": (1,)}
THREE = layers_of({"a": (1,), "b": (1,), "c": (1,)})


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"scale": 0.5}, (1, 2, 6)),
        ({"scale": 1.0}, (1, 2, 9)),
        ({"scale": 3.0}, (1, 2, 27)),  # no more of the honest one
        ({"form": "lfa"}, (1, 2, -9)),
    ],
)
def test_substituted_by_hand(parameters: dict, expected: tuple[float, ...]):
    found = craft("layer_substitution", LANES, layers=LAYERS, chosen=["b.weight"], **parameters)
    assert found.tolist() == [[*expected]]


def test_elsewhere_it_can_be_the_mean_of_the_compromised():
    lanes = [*LANES, [[3.0, 4.0, 5.0], [7.0, 7.0, 7.0]]]
    given = {"layers": LAYERS, "chosen": ["b.weight"]}
    assert craft("layer_substitution", lanes, averaged=True, **given).tolist() == [
        [2, 3, 9],
        [2, 3, 7],
    ]


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"chosen must be among a.weight, b.weight; got c"):
        craft("layer_substitution", LANES, layers=LAYERS, chosen=["c", "b.weight"])
    with pytest.raises(ValueError, match=r"trains: craft\(..., model=..., examples=...\)"):
        craft("layer_substitution", LANES, layers=LAYERS)


def names(layers: list[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def test_layers_are_sorted_by_what_is_lost_and_taken_until_enough():
    """Accuracy is the sum of what each layer of three gives: 0.1, 0.5, 0.4."""
    gives = torch.tensor([0.1, 0.5, 0.4])

    def rate(update: Tensor) -> float:
        return float(gives @ update)

    honest, malicious = torch.zeros(3), torch.ones(3)
    for tau, expected in ((0.4, "b"), (0.8, "bc"), (0.95, "bca")):
        assert "".join(names(critical(honest, malicious, THREE, rate, tau))) == expected
    assert critical(honest, malicious, THREE, lambda update: 0.0, 0.95) == []
    # of equals the first in the model
    assert names(critical(honest, malicious, THREE, lambda update: float(update.mean()), 0.3)) == [
        "a"
    ]


def test_the_layer_that_carries_the_backdoor_is_identified():
    tools = bench()
    start = torch.zeros(tools.client.num_parameters)
    attack = LayerSubstitution()
    ready(attack)
    honest, malicious = torch.full_like(start, 1e-3), torch.full_like(start, 2e-3)
    malicious[-9] = 1.0  # the output's bias of class 1, the class wanted
    told = context(tools, start)
    found = attack.craft(torch.stack([honest, malicious])[None], told)[0]
    output = tools.client.layers[-1].place
    assert torch.equal(found[output], malicious[output])
    assert torch.equal(found[: output.start], honest[: output.start])


def test_a_quarter_of_the_poison_is_not_trained_on():
    poison = backdoor(9)
    seen, unseen = parted(client(), poison)
    assert (len(seen), len(unseen)) == (7, 2)
    assert sorted([*seen.indices.tolist(), *unseen.indices.tolist()]) == poison.indices.tolist()
    honest, malicious = LayerSubstitution().lanes(client(), poison, 1.0)
    assert torch.equal(honest.indices, client().honest_lane().indices)
    trained = {*malicious.indices.flatten().tolist()}
    assert not trained & {*unseen.indices.tolist()}
    assert trained & {*seen.indices.tolist()}
    own = Examples(torch.arange(30, 33), torch.ones(3).long())
    assert parted(replace(client(), poisoned=(own,)), own) == (own, own)
