"""Every rule of ``conf/defense`` on updates of a network of the paper's shape."""

import torch
from torch import Tensor, nn

from bench.peers.served import Aggregate, serve
from benchmark.config.compose import read_yaml, resolve
from benchmark.config.instantiate import construct
from benchmark.defenses.base import Defense, DefenseContext, DefenseSetting
from benchmark.defenses.blocks import spread
from benchmark.engine.client import ClientModule
from benchmark.utils.machine import one_thread

READ = "(read)"
"""No rule: the sum of each row, which is as fast as memory is read."""
BOUND = 0.9
"""Of norms: it clips most of the updates, whose length is about 1."""
GIVEN = {
    "norm_clip": {"norm_bound": BOUND},
    "norm_reject": {"norm_bound": BOUND},
    "weak_dp": {"norm_bound": BOUND},
    "centered_clipping": {"radius": BOUND},
    "adaptive_clip": {"initial": BOUND},
}


def network(width: int) -> nn.Module:
    """The paper's, whose dense layer has 128 neurons, with any number of them."""
    convolutions = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
    return nn.Sequential(*convolutions, nn.Linear(9216, width), nn.Linear(width, 10))


def num_parameters(width: int) -> int:
    """Of :func:`network`."""
    return 18_816 + 9_216 * width + 11 * width + 10


def assumed(clients: int) -> int:
    """f: a fifth of the cohort, which every rule bears."""
    return max(clients // 5, 1)


def ready(name: str, updates: Tensor) -> Aggregate:
    """A defense that was set up, round after round from 0."""
    if name == READ:
        return lambda updates: spread(torch.sum, updates, torch.get_num_threads())
    (K, P), device = updates.shape, updates.device
    stored = read_yaml("defense", name)
    given = dict(GIVEN.get(name, {}))
    if "assumed_compromised" in stored:
        given["assumed_compromised"] = assumed(K)
    if name == "multi_krum":
        given["m"] = K - assumed(K) - 1
    if "inner" in stored:
        given["inner"] = "mean"
    defense: Defense = construct(resolve("defense", name, {**stored, **given}))
    layers = ClientModule(network((P - 18_826) // 9_227), 0.1).layers
    defense.setup(DefenseSetting(K, K, P, 1, layers))
    theta, clients = torch.ones(P, dtype=updates.dtype) / P**0.5, torch.arange(K)
    weights = torch.full((K,), 1 / K, device=device, dtype=torch.float64)
    root = updates[0].clone() if defense.needs_root_data else None
    context = DefenseContext(0, 0, theta.to(device), clients.to(device), layers, root)
    defense.to(device)

    def aggregate(updates: Tensor) -> Tensor:
        # As in a run: a rule spreads its work itself.
        with one_thread():
            return defense.aggregate(updates, weights, context).update

    return aggregate


if __name__ == "__main__":
    serve(ready)
