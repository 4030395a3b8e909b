"""A federation of one client is centralized training; engines agree on a whole run."""

import pytest
import torch
from torch.utils.data import DataLoader

from benchmark.attacks.norm_bounded import NormBounded
from benchmark.defenses.norm_clip import NormClip
from benchmark.engine.base import Engine
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.reference import ReferenceEngine
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset
from benchmark.utils.randomness import derive, generator
from tests.support.toys import fit, make_federation, tiny_client


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(workers=1)])
@pytest.mark.parametrize("epochs", [1, 3])
def test_one_client_with_full_participation_is_centralized_sgd(engine: Engine, epochs: int):
    """Its rounds, one after another, are one `Trainer.fit` over the same batches."""
    dataset, rounds, batch_size, seed = make_dataset([40]), 3, 7, 5
    federation = make_federation(
        dataset,
        client=tiny_client(),
        engine=engine,
        seed=seed,
        rounds=rounds,
        clients_per_round=1,
        local_epochs=epochs,
        batch_size=batch_size,
        task=WriterBackdoor(num_tasks=1),
    )
    fit(federation)

    batches = []
    for round in range(rounds):
        source = generator(seed, round, "batches/local/0")
        order = torch.cat([torch.randperm(40, generator=source) for _ in range(epochs)])
        for indices in order.split(batch_size):
            pixels = dataset.train.images[indices].double() / 255
            batches.append((pixels, dataset.train.labels[indices]))
    client = tiny_client()
    start = client.flat()
    fit(client, DataLoader(batches, batch_size=None), epochs=1)
    moved, federated = client.flat() - start, federation.theta.detach() - start
    assert moved.norm() > 0
    assert (federated - moved).norm() <= 1e-10 * moved.norm()


def test_one_round_of_one_client_with_dropout_is_centralized_sgd():
    dataset = make_dataset([40])
    federation = make_federation(
        dataset,
        client=tiny_client(0.4),
        task=WriterBackdoor(num_tasks=1),
        rounds=1,
        clients_per_round=1,
        local_epochs=1,
    )
    fit(federation)
    client = tiny_client(0.4)
    client.dropout_seed = derive(0, 0, "dropout/local/0")
    start = client.flat()
    order = torch.randperm(40, generator=generator(0, 0, "batches/local/0")).split(4)
    data = [(dataset.train.pixels(i, torch.float64), dataset.train.labels[i]) for i in order]
    fit(client, DataLoader(data, batch_size=None), epochs=1)
    moved, federated = client.flat() - start, federation.theta.detach() - start
    assert (federated - moved).norm() <= 1e-10 * moved.norm()


def test_a_federation_on_the_cpu_engine_equals_the_reference():
    theta = []
    engines: list[Engine] = [ReferenceEngine(), CpuEngine(workers=2)]
    for engine in engines:
        federation = make_federation(
            client=tiny_client(0.3),
            attack=NormBounded(norm_bound=0.3, rounds=2),
            defense=NormClip(0.2),
            engine=engine,
        )
        fit(federation)
        theta.append(federation.theta.detach())
    assert (theta[0] - theta[1]).norm() <= 1e-10 * theta[0].norm()
